# ReLoCLNet on TVR-Ranking, with the 40 most similar moments of a query as positives; see
# docs/data/tvr_ranking.md. As in the program of its authors, other positives of a query in a batch
# are negatives: other_positives of the losses changes that. Not trained yet.
_base_ = [
    '_base_/models/reloclnet.py',
    '_base_/datasets/tvr_ranking.py',
    '_base_/evaluation/ranking.py',
    '_base_/schedules/bert_adam_ranking.py',
    '_base_/default_runtime.py',
]

model = dict(
    streams=_base_.streams,
    query_channels=_base_.channels.query,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    context_encoder=dict(max_clips=_base_.max_clips),
)

default_hooks = dict(checkpoint=dict(save_best=_base_.monitor))
