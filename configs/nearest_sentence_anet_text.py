# The sentence nearest to the query, untrained, on ActivityNet Captions as text. It needs
# sentences.h5 beside sub.h5: tools/extract_text_features.py sentences … --rows sentences.
_base_ = [
    '_base_/datasets/anet_text.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/no_training.py',
    '_base_/default_runtime.py',
]

channels = dict(subtitle=_base_.channels.subtitle, times=2, query=_base_.channels.query)
feature_files = dict(
    subtitle='sentences.h5', times='sentences_times.h5', query=_base_.feature_files.query
)
data = dict(feature_files=feature_files, channels=channels, max_tokens=64)

# Tokens as they are: their mean is that of a sentence.
query_pipeline = [dict(type='LoadQueryFeatures'), dict(type='PackMomentInputs')]
corpus_pipeline = [
    dict(type='LoadClipFeatures'),
    dict(type='CountTimedRows'),
    dict(type='PackMomentInputs'),
]

train_dataloader = None
val_dataloader = dict(dataset=dict(pipeline=query_pipeline, **data))
val_corpus_dataloader = dict(dataset=dict(pipeline=corpus_pipeline, **data))
test_dataloader = val_dataloader
test_corpus_dataloader = val_corpus_dataloader

model = dict(type='NearestSentence', streams=dict(subtitle=channels['subtitle']))
