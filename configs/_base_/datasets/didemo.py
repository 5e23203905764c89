# DiDeMo, one stream. See docs/data/didemo.md.
# video.h5: ResNet-152, 2048 wide, a row each 2.5 s, two a cell. query.h5: RoBERTa, 768.
_base_ = 'dataloaders.py'

data_root = 'data/didemo/'
channels = dict(video=2048, query=768)
clip_length = 2.5
# The annotation knows the first 30 s of a video.
max_clips = 12
max_tokens = 30

# AppendTEF appends two columns.
streams = dict(video=channels['video'] + 2)

data = dict(
    data_root=data_root,
    feature_files=dict(video='video.h5', query='query.h5'),
    channels=channels,
    clip_length=clip_length,
    max_clips=max_clips,
    max_tokens=max_tokens,
)
train_reader = dict(type='DiDeMoReader', ann_file='train_data.json')
val_reader = dict(type='DiDeMoReader', ann_file='val_data.json')
test_reader = dict(type='DiDeMoReader', ann_file='test_data.json')

train_dataloader = dict(dataset=dict(reader=train_reader, **data))
val_dataloader = dict(dataset=dict(reader=val_reader, **data))
val_corpus_dataloader = dict(dataset=dict(reader=val_reader, **data))
test_dataloader = dict(dataset=dict(reader=test_reader, **data))
test_corpus_dataloader = dict(dataset=dict(reader=test_reader, **data))
