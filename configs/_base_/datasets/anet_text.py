# ActivityNet Captions as text: one annotator's timed sentences are the subtitles, the other's the
# queries. Files as tools/dataset_converters/activitynet_text.py and
# tools/extract_text_features.py write them.
data_root = 'data/anet_text/'
feature_files = dict(subtitle='sub.h5', query='query.h5')
channels = dict(subtitle=384, query=384)
video_index = 'video2dur_idx.json'
clip_length = 2.0
max_clips = 32
max_tokens = 30
batch_size = 128
num_workers = 1

# AppendTEF appends two columns.
streams = dict(subtitle=channels['subtitle'] + 2)

load_query = [
    dict(type='LoadQueryFeatures', max_tokens=max_tokens),
    dict(type='NormalizeFeatures', names=['query']),
]
load_clips = [
    dict(type='LoadClipFeatures', stream='subtitle'),
    dict(type='PoolClips', clip_length=clip_length, max_clips=max_clips),
    dict(type='NormalizeFeatures', names=['subtitle']),
    dict(type='AppendTEF'),
]
pack = [dict(type='PackMomentInputs')]
train_pipeline = [*load_query, *load_clips, dict(type='MomentToSpan'), *pack]
query_pipeline = [*load_query, *pack]
corpus_pipeline = [*load_clips, *pack]

files = dict(data_root=data_root, feature_files=feature_files, channels=channels)
loading = dict(num_workers=num_workers, persistent_workers=num_workers > 0)
in_order = dict(type='DefaultSampler', shuffle=False)

train_dataloader = dict(
    **loading,
    batch_size=batch_size,
    sampler=dict(type='SeededSampler', shuffle=True),
    dataset=dict(
        type='QueryDataset',
        reader=dict(
            type='TVRReader', ann_file='train.jsonl', video_index=video_index, split='train'
        ),
        pipeline=train_pipeline,
        **files,
    ),
)
val_dataloader = dict(
    **loading,
    batch_size=500,
    sampler=in_order,
    dataset=dict(
        type='QueryDataset',
        reader=dict(type='TVRReader', ann_file='val.jsonl', video_index=video_index, split='val'),
        pipeline=query_pipeline,
        test_mode=True,
        **files,
    ),
)
val_corpus_dataloader = dict(
    num_workers=num_workers,
    batch_size=100,
    sampler=in_order,
    dataset=dict(
        type='CorpusDataset',
        reader=dict(type='TVRReader', video_index=video_index, split='val'),
        pipeline=corpus_pipeline,
        test_mode=True,
        **files,
    ),
)
test_dataloader = val_dataloader
test_corpus_dataloader = val_corpus_dataloader
