# ActivityNet Captions with features of the videos, one stream. See docs/data/activitynet.md.
# video.h5: C3D of the ActivityNet challenge, 500 wide; for I3D write 1024. query.h5: RoBERTa, 768.
_base_ = 'dataloaders.py'

data_root = 'data/activitynet/'
channels = dict(video=500, query=768)
# Half of the videos are longer than 117 s, the longest has 746 s.
max_clips = 128
max_tokens = 40

# AppendTEF appends two columns.
streams = dict(video=channels['video'] + 2)

data = dict(
    data_root=data_root,
    feature_files=dict(video='video.h5', query='query.h5'),
    channels=channels,
    # A row is so many frames, and the frame rates differ from video to video.
    clip_length='even',
    max_clips=max_clips,
    max_tokens=max_tokens,
)
train_reader = dict(type='ActivityNetCaptionsReader', ann_file='train.json')
val_reader = dict(type='ActivityNetCaptionsReader', ann_file='val_1.json')
test_reader = dict(type='ActivityNetCaptionsReader', ann_file='val_2.json')

train_dataloader = dict(dataset=dict(reader=train_reader, **data))
val_dataloader = dict(dataset=dict(reader=val_reader, **data))
val_corpus_dataloader = dict(dataset=dict(reader=val_reader, **data))
test_dataloader = dict(dataset=dict(reader=test_reader, **data))
test_corpus_dataloader = dict(dataset=dict(reader=test_reader, **data))
