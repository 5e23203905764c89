# XML on TVR: the recipe of its authors' program.
_base_ = [
    '_base_/models/xml.py',
    '_base_/datasets/tvr.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/bert_adam.py',
    '_base_/default_runtime.py',
]

max_clips = 100

data = dict(dataset=dict(max_clips=max_clips))
train_dataloader = data
val_dataloader = data
val_corpus_dataloader = data
test_dataloader = data
test_corpus_dataloader = data

model = dict(
    streams=_base_.streams,
    query_channels=_base_.channels.query,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    context_encoder=dict(max_clips=max_clips),
)
