# ReLoCLNet on TVR exactly as the authors' program computes it, with its known defects: for
# checkpoints converted by tools/model_converters/official_to_mm.py and for comparison.
_base_ = 'relocl_tvr.py'

# Padded clips leak into span logits; clips are always padded to the most that a video has. The last
# clip of a video is in no answer.
model = dict(
    padding='official',
    data_preprocessor=dict(pad_clips_to=_base_.max_clips),
    test_cfg=dict(span_end='official'),
)

# Rows of pooled videos count as 1.5 s, whatever they cover.
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(pooled_seconds='official')
train_pipeline[5].update(span_end='official')
corpus_pipeline = _base_.corpus_pipeline
corpus_pipeline[1].update(pooled_seconds='official')

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_corpus_dataloader = dict(dataset=dict(pipeline=corpus_pipeline))
test_corpus_dataloader = val_corpus_dataloader
