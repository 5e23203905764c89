# TVR-Ranking: queries whose moments are in many of TVR's videos, by relevance. See
# docs/data/tvr_ranking.md. video.h5: I3D, 1024 wide, a row each 1.5 s.
_base_ = 'dataloaders.py'

data_root = 'data/tvr_ranking/'
channels = dict(video=1024, subtitle=768, query=768)
max_clips = 128
max_tokens = 30
# Training files have the moments whose captions are most similar to the query: the best 1, 20, 40.
max_positives = 40
video_index = 'video_corpus.json'

# AppendTEF appends two columns to each stream.
streams = dict(video=channels['video'] + 2, subtitle=channels['subtitle'] + 2)

data = dict(
    data_root=data_root,
    feature_files=dict(video='video.h5', subtitle='subtitle.h5', query='query.h5'),
    channels=channels,
    # The video features are normalized already.
    normalize=['query', 'subtitle'],
    clip_length=1.5,
    max_clips=max_clips,
    max_tokens=max_tokens,
)
train_reader = dict(type='TVRRankingReader', ann_file='train_top40.json', video_index=video_index)
val_reader = dict(type='TVRRankingReader', ann_file='val.json', video_index=video_index)
test_reader = dict(type='TVRRankingReader', ann_file='test.json', video_index=video_index)
corpus_reader = dict(type='TVRRankingReader', video_index=video_index)

train_dataloader = dict(dataset=dict(reader=train_reader, max_positives=max_positives, **data))
val_dataloader = dict(dataset=dict(reader=val_reader, **data))
val_corpus_dataloader = dict(dataset=dict(reader=corpus_reader, **data))
test_dataloader = dict(dataset=dict(reader=test_reader, **data))
test_corpus_dataloader = val_corpus_dataloader
