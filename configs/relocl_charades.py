# ReLoCLNet on Charades-STA, one stream; see docs/data/charades.md. Not trained yet.
_base_ = [
    '_base_/models/reloclnet.py',
    '_base_/datasets/charades.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/bert_adam.py',
    '_base_/default_runtime.py',
]

# The authors' for ActivityNet Captions; not tuned here.
alpha = 20.0

# 99 % of the moments are shorter than 20 s: some 30 rows of I3D.
model = dict(
    streams=_base_.streams,
    query_channels=_base_.channels.query,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    context_encoder=dict(max_clips=_base_.max_clips),
    test_cfg=dict(alpha=alpha, min_span=2, max_span=32),
)
