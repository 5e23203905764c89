# Charades-STA, one stream. See docs/data/charades.md.
# video.h5: I3D, 1024 wide, a row each second or less. query.h5: RoBERTa, 768.
_base_ = 'dataloaders.py'

data_root = 'data/charades/'
channels = dict(video=1024, query=768)
# 99 % of the videos are shorter than 57 s.
max_clips = 64
max_tokens = 30

# AppendTEF appends two columns.
streams = dict(video=channels['video'] + 2)

data = dict(
    data_root=data_root,
    feature_files=dict(video='video.h5', query='query.h5'),
    channels=channels,
    # Releases of I3D features differ in frame rate and stride.
    clip_length='even',
    max_clips=max_clips,
    max_tokens=max_tokens,
)
reader = dict(type='CharadesSTAReader', video_index='charades.json')
train_reader = dict(ann_file='charades_sta_train.txt', **reader)
# There is no third split: models are chosen and reported on the same videos, as is usual for it.
val_reader = dict(ann_file='charades_sta_test.txt', **reader)

train_dataloader = dict(dataset=dict(reader=train_reader, **data))
val_dataloader = dict(dataset=dict(reader=val_reader, **data))
val_corpus_dataloader = dict(dataset=dict(reader=val_reader, **data))
test_dataloader = val_dataloader
test_corpus_dataloader = val_corpus_dataloader
