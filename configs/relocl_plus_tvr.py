# ReLoCLNetPlus on TVR, two streams; see docs/data/tvr.md. Not trained yet.
_base_ = [
    '_base_/models/relocl_plus.py',
    '_base_/datasets/tvr.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/adamw.py',
    '_base_/default_runtime.py',
]

model = dict(
    streams=dict(video=_base_.channels.video, subtitle=_base_.channels.subtitle),
    query_channels=_base_.channels.query,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    test_cfg=dict(max_span=16),
)
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=_base_.plain_pipelines.train))
val_dataloader = dict(dataset=dict(pipeline=_base_.plain_pipelines.query))
val_corpus_dataloader = dict(dataset=dict(pipeline=_base_.plain_pipelines.corpus))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain_pipelines.query))
test_corpus_dataloader = dict(dataset=dict(pipeline=_base_.plain_pipelines.corpus))
