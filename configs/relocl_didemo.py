# ReLoCLNet on DiDeMo, one stream; see docs/data/didemo.md. Not trained yet.
_base_ = [
    '_base_/models/reloclnet.py',
    '_base_/datasets/didemo.py',
    '_base_/evaluation/didemo.py',
    '_base_/schedules/bert_adam.py',
    '_base_/default_runtime.py',
]

# The authors' for ActivityNet Captions; not tuned here.
alpha = 20.0

# A moment is a cell of two rows, or several cells. The last cell counts as one row: an answer ends
# where the last row begins at the latest (see the page for what this costs).
model = dict(
    streams=_base_.streams,
    query_channels=_base_.channels.query,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    context_encoder=dict(max_clips=_base_.max_clips),
    test_cfg=dict(alpha=alpha, min_span=1, max_span=_base_.max_clips),
)
