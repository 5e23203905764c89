# XML on ActivityNet Captions, one stream; see docs/data/activitynet.md. Not trained yet.
_base_ = [
    '_base_/models/xml_one_stream.py',
    '_base_/datasets/activitynet.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/bert_adam.py',
    '_base_/default_runtime.py',
]

# Moments cover a third of their video, so spans of any length may be answered.
model = dict(
    streams=_base_.streams,
    query_channels=_base_.channels.query,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    context_encoder=dict(max_clips=_base_.max_clips),
    test_cfg=dict(min_span=1, max_span=_base_.max_clips),
)
