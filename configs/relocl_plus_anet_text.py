# ReLoCLNetPlus on ActivityNet Captions as text, one stream; minutes on a CPU. Settings and the best
# epoch were chosen on a tenth of the training videos; see docs/results.md.
_base_ = [
    '_base_/models/relocl_plus.py',
    '_base_/datasets/anet_text_held_out.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/adamw.py',
    '_base_/default_runtime.py',
]

model = dict(
    streams=dict(subtitle=_base_.channels.subtitle),
    query_channels=_base_.channels.query,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    test_cfg=dict(max_span=_base_.max_clips + 1),
)
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=_base_.plain_pipelines.train))
val_dataloader = dict(dataset=dict(pipeline=_base_.plain_pipelines.query))
val_corpus_dataloader = dict(dataset=dict(pipeline=_base_.plain_pipelines.corpus))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain_pipelines.query))
test_corpus_dataloader = dict(dataset=dict(pipeline=_base_.plain_pipelines.corpus))
