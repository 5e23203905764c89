# The clip nearest to the query, widened to the median training moment; untrained, on ActivityNet
# Captions as text.
_base_ = [
    '_base_/datasets/anet_text.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/no_training.py',
    '_base_/default_runtime.py',
]

# Features as they are: a query is the mean of its tokens.
query_pipeline = [dict(type='LoadQueryFeatures'), dict(type='PackMomentInputs')]
corpus_pipeline = [
    dict(type='LoadClipFeatures'),
    dict(type='PoolClips'),
    dict(type='PackMomentInputs'),
]

model = dict(
    type='NearestClip',
    streams=dict(subtitle=_base_.channels.subtitle),
    reader=dict(**_base_.train_dataloader.dataset.reader, data_root=_base_.data_root),
)
train_dataloader = None
val_dataloader = dict(dataset=dict(pipeline=query_pipeline))
val_corpus_dataloader = dict(dataset=dict(pipeline=corpus_pipeline))
test_dataloader = val_dataloader
test_corpus_dataloader = val_corpus_dataloader
