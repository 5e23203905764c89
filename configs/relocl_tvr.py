# ReLoCLNet on TVR: the recipe of the paper.
_base_ = [
    '_base_/models/reloclnet.py',
    '_base_/datasets/tvr.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/bert_adam.py',
    '_base_/default_runtime.py',
]

model = dict(
    streams=_base_.streams,
    query_channels=_base_.channels.query,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    context_encoder=dict(max_clips=_base_.max_clips),
)
