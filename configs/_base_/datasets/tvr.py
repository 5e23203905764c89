# TVR in the layout and under the file names of its release. See docs/data/tvr.md.
_base_ = 'dataloaders.py'

data_root = 'data/tvr/'
feature_files = dict(
    video='tvr_feature_release/video_feature/tvr_resnet152_rgb_max_i3d_rgb600_avg_cat_cl-1.5.h5',
    subtitle='tvr_feature_release/bert_feature/sub_query/'
    'tvr_sub_pretrained_w_sub_query_max_cl-1.5.h5',
    query='tvr_feature_release/bert_feature/sub_query/tvr_query_pretrained_w_sub_query.h5',
)
channels = dict(video=3072, subtitle=768, query=768)
max_clips = 128
max_tokens = 30
video_index = 'tvr_video2dur_idx.json'

# AppendTEF appends two columns to each stream.
streams = dict(video=channels['video'] + 2, subtitle=channels['subtitle'] + 2)

data = dict(
    data_root=data_root,
    feature_files=feature_files,
    channels=channels,
    # The halves of the video features, ResNet-152 and I3D, are normalized already.
    normalize=['query', 'subtitle'],
    clip_length=1.5,
    max_clips=max_clips,
    max_tokens=max_tokens,
)
train_reader = dict(
    type='TVRReader', ann_file='tvr_train_release.jsonl', video_index=video_index, split='train'
)
val_reader = dict(
    type='TVRReader', ann_file='tvr_val_release.jsonl', video_index=video_index, split='val'
)
corpus_reader = dict(type='TVRReader', video_index=video_index, split='val')

train_dataloader = dict(dataset=dict(reader=train_reader, **data))
val_dataloader = dict(dataset=dict(reader=val_reader, **data))
val_corpus_dataloader = dict(dataset=dict(reader=corpus_reader, **data))
test_dataloader = val_dataloader
test_corpus_dataloader = val_corpus_dataloader
