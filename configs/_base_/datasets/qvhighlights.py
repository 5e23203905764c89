# QVHighlights, one stream. See docs/data/qvhighlights.md.
# video.h5: CLIP (512) and SlowFast (2304) side by side, each normalized by itself, a row each 2 s.
# query.h5: CLIP's text tokens, 512 wide.
_base_ = 'dataloaders.py'

data_root = 'data/qvhighlights/'
channels = dict(video=2816, query=512)
# All videos last 120 to 150 s.
max_clips = 75
max_tokens = 32

# AppendTEF appends two columns.
streams = dict(video=channels['video'] + 2)

data = dict(
    data_root=data_root,
    feature_files=dict(video='video.h5', query='query.h5'),
    channels=channels,
    normalize=['query'],
    clip_length=2.0,
    max_clips=max_clips,
    max_tokens=max_tokens,
)
train_reader = dict(type='QVHighlightsReader', ann_file='highlight_train_release.jsonl')
# The answers of the test split are not public.
val_reader = dict(type='QVHighlightsReader', ann_file='highlight_val_release.jsonl')

# No training query has more windows.
train_dataloader = dict(dataset=dict(reader=train_reader, max_positives=24, **data))
val_dataloader = dict(dataset=dict(reader=val_reader, **data))
val_corpus_dataloader = dict(dataset=dict(reader=val_reader, **data))
test_dataloader = val_dataloader
test_corpus_dataloader = val_corpus_dataloader
