# What all data sets share: pipelines and dataloaders. The file of a data set adds readers, files
# and sizes, which the transforms read from the data set.
batch_size = 128
num_workers = 2

train_pipeline = [
    dict(type='LoadQueryFeatures'),
    dict(type='LoadClipFeatures'),
    dict(type='PoolClips'),
    dict(type='NormalizeFeatures'),
    dict(type='AppendTEF'),
    dict(type='MomentToSpan'),
    dict(type='PackMomentInputs'),
]
query_pipeline = [
    dict(type='LoadQueryFeatures'),
    dict(type='NormalizeFeatures'),
    dict(type='PackMomentInputs'),
]
corpus_pipeline = [
    dict(type='LoadClipFeatures'),
    dict(type='PoolClips'),
    dict(type='NormalizeFeatures'),
    dict(type='AppendTEF'),
    dict(type='PackMomentInputs'),
]

collate_fn = dict(type='reloclnet_mm.join_rows')
loading = dict(num_workers=num_workers, persistent_workers=num_workers > 0, collate_fn=collate_fn)
in_order = dict(type='DefaultSampler', shuffle=False)

train_dataloader = dict(
    **loading,
    batch_size=batch_size,
    sampler=dict(type='SeededSampler', shuffle=True),
    dataset=dict(type='QueryDataset', pipeline=train_pipeline),
)
val_dataloader = dict(
    **loading,
    batch_size=500,
    sampler=in_order,
    dataset=dict(type='QueryDataset', pipeline=query_pipeline, test_mode=True),
)
val_corpus_dataloader = dict(
    num_workers=num_workers,
    collate_fn=collate_fn,
    batch_size=100,
    sampler=in_order,
    dataset=dict(type='CorpusDataset', pipeline=corpus_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
test_corpus_dataloader = val_corpus_dataloader
