# What is said in videos: the model that comes with the package, for own videos. As
# relocl_plus_anet_text.py, on the videos of both splits; docs/own_videos.md says how it was made.
_base_ = 'relocl_plus_anet_text.py'

in_all = dict(data_root='data/anet_speech/')
train_dataloader = dict(dataset=in_all)
val_dataloader = dict(dataset=in_all)
val_corpus_dataloader = dict(dataset=in_all)
test_dataloader = dict(dataset=in_all)
test_corpus_dataloader = dict(dataset=in_all)

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
# Longer videos are searched in windows of 128 s, about as long as those of training; a moment of up
# to 64 s is whole in one of them.
windows = dict(clips=64, stride=32)
