# ReLoCLNet on QVHighlights, one stream; see docs/data/qvhighlights.md. Not trained yet.
_base_ = [
    '_base_/models/reloclnet.py',
    '_base_/datasets/qvhighlights.py',
    '_base_/evaluation/qvhighlights.py',
    '_base_/schedules/bert_adam.py',
    '_base_/default_runtime.py',
]

# The authors' for ActivityNet Captions; not tuned here.
alpha = 20.0

# A window may be a single clip or the whole video.
model = dict(
    streams=_base_.streams,
    query_channels=_base_.channels.query,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    context_encoder=dict(max_clips=_base_.max_clips),
    # Other windows of a query are no negatives.
    loss_ranking=dict(other_positives='ignored'),
    loss_frame=dict(other_positives='ignored'),
    loss_video=dict(other_positives='ignored'),
    test_cfg=dict(alpha=alpha, min_span=1, max_span=_base_.max_clips),
)
