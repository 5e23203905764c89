# What is said in videos: the model that comes with the package, for own videos. Its talks are
# descriptions of ActivityNet Captions, chained; docs/own_videos.md says how it was made.
_base_ = [
    '_base_/models/relocl_plus.py',
    '_base_/datasets/anet_text.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/adamw.py',
    '_base_/default_runtime.py',
]

talks = dict(data_root='data/anet_talks/')
pipelines = _base_.plain_pipelines

model = dict(
    streams=dict(subtitle=_base_.channels.subtitle),
    query_channels=_base_.channels.query,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    test_cfg=dict(max_span=_base_.max_clips + 1),
)
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=pipelines.train, **talks))
val_dataloader = dict(dataset=dict(pipeline=pipelines.query, **talks))
val_corpus_dataloader = dict(dataset=dict(pipeline=pipelines.corpus, **talks))
test_dataloader = dict(dataset=dict(pipeline=pipelines.query, **talks))
test_corpus_dataloader = dict(dataset=dict(pipeline=pipelines.corpus, **talks))

# How features are made of videos and sentences, the same for training and for own videos.
spoken = dict(
    type='TextFeatures',
    encoder='sentence-transformers/all-MiniLM-L6-v2',
    max_tokens=64,
    pool='mean',
)
recipe = dict(
    type='FeatureRecipe',
    clip_length=2.0,
    streams=dict(subtitle=spoken),
    query=spoken,
    speech=dict(type='SpeechRecognizer', model='tiny.en'),
    language='English',
)
# Longer videos are searched in windows of 128 s, about as long as the talks of training; a moment
# of up to 64 s is whole in one of them.
windows = dict(clips=64, stride=32)
