# ActivityNet Captions as text: one annotator's timed sentences are the subtitles, the other's the
# queries. Files as tools/dataset_converters/activitynet_text.py and
# tools/extract_text_features.py write them.
_base_ = 'dataloaders.py'

data_root = 'data/anet_text/'
feature_files = dict(subtitle='sub.h5', query='query.h5')
channels = dict(subtitle=384, query=384)
max_clips = 32
max_tokens = 30
video_index = 'video2dur_idx.json'

# AppendTEF appends two columns.
streams = dict(subtitle=channels['subtitle'] + 2)

data = dict(
    data_root=data_root,
    feature_files=feature_files,
    channels=channels,
    clip_length=2.0,
    max_clips=max_clips,
    max_tokens=max_tokens,
)
train_reader = dict(
    type='TVRReader', ann_file='train.jsonl', video_index=video_index, split='train'
)
val_reader = dict(type='TVRReader', ann_file='val.jsonl', video_index=video_index, split='val')
corpus_reader = dict(type='TVRReader', video_index=video_index, split='val')
loading = dict(num_workers=1)

train_dataloader = dict(**loading, dataset=dict(reader=train_reader, **data))
val_dataloader = dict(**loading, dataset=dict(reader=val_reader, **data))
val_corpus_dataloader = dict(**loading, dataset=dict(reader=corpus_reader, **data))
test_dataloader = val_dataloader
test_corpus_dataloader = val_corpus_dataloader
