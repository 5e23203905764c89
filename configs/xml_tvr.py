# XML on TVR: the recipe of its authors' program.
_base_ = [
    '_base_/models/xml.py',
    '_base_/datasets/tvr.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/bert_adam.py',
    '_base_/default_runtime.py',
]

max_clips = 100

load_clips = _base_.load_clips
load_clips[2].update(max_clips=max_clips)
train_dataloader = dict(
    dataset=dict(
        pipeline=[*_base_.load_query, *load_clips, dict(type='MomentToSpan'), *_base_.pack]
    )
)
corpus = dict(dataset=dict(pipeline=[*load_clips, *_base_.pack]))
val_corpus_dataloader = corpus
test_corpus_dataloader = corpus

model = dict(
    streams=_base_.streams,
    query_channels=_base_.channels.query,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    context_encoder=dict(max_clips=max_clips),
)
