# TVR in the layout and under the file names of its release.
data_root = 'data/tvr/'
feature_files = dict(
    video='tvr_feature_release/video_feature/tvr_resnet152_rgb_max_i3d_rgb600_avg_cat_cl-1.5.h5',
    subtitle='tvr_feature_release/bert_feature/sub_query/'
    'tvr_sub_pretrained_w_sub_query_max_cl-1.5.h5',
    query='tvr_feature_release/bert_feature/sub_query/tvr_query_pretrained_w_sub_query.h5',
)
channels = dict(video=3072, subtitle=768, query=768)
video_index = 'tvr_video2dur_idx.json'
clip_length = 1.5
max_clips = 128
max_tokens = 30
batch_size = 128
num_workers = 2

# AppendTEF appends two columns to each stream.
streams = dict(video=channels['video'] + 2, subtitle=channels['subtitle'] + 2)

load_query = [
    dict(type='LoadQueryFeatures', max_tokens=max_tokens),
    dict(type='NormalizeFeatures', names=['query']),
]
load_clips = [
    dict(type='LoadClipFeatures', stream='video'),
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
            type='TVRReader',
            ann_file='tvr_train_release.jsonl',
            video_index=video_index,
            split='train',
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
        reader=dict(
            type='TVRReader', ann_file='tvr_val_release.jsonl', video_index=video_index, split='val'
        ),
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
