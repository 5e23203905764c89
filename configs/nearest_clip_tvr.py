# The clip whose subtitle is nearest to the query, widened to the median training moment; untrained,
# on TVR.
_base_ = [
    '_base_/datasets/tvr.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/no_training.py',
    '_base_/default_runtime.py',
]

# Features as they are: a query is the mean of its tokens, as wide as subtitles.
query_pipeline = [dict(type='LoadQueryFeatures'), dict(type='PackMomentInputs')]
corpus_pipeline = [
    dict(type='LoadClipFeatures'),
    dict(type='PoolClips'),
    dict(type='PackMomentInputs'),
]
names = dict(
    feature_files=dict(
        _delete_=True, subtitle=_base_.feature_files.subtitle, query=_base_.feature_files.query
    ),
    channels=dict(_delete_=True, subtitle=_base_.channels.subtitle, query=_base_.channels.query),
)

model = dict(
    type='NearestClip',
    streams=dict(subtitle=_base_.channels.subtitle),
    reader=dict(**_base_.train_reader, data_root=_base_.data_root),
)
train_dataloader = None
val_dataloader = dict(dataset=dict(pipeline=query_pipeline, **names))
val_corpus_dataloader = dict(dataset=dict(pipeline=corpus_pipeline, **names))
test_dataloader = val_dataloader
test_corpus_dataloader = val_corpus_dataloader
