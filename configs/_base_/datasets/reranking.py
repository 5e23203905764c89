# How a second stage is trained on the features of its first stage.
reranking_pipeline = [
    dict(type='LoadQueryFeatures'),
    dict(
        type='ForEachVideo',
        transforms=[
            dict(type='LoadClipFeatures'),
            dict(type='PoolClips'),
            dict(type='NormalizeFeatures'),
            dict(type='AppendTEF'),
        ],
    ),
    dict(type='MomentToSpan', span_end='inclusive'),
    dict(type='PackMomentInputs'),
]
# What tools/first_stage_lists.py writes, below data_root: the videos that the first stage ranks
# for the training queries.
reranking_lists = 'train_lists.safetensors'
