# ReLoCLNet on TVR exactly as the authors' program computes it, with its known defects: for
# checkpoints converted by tools/model_converters/official_to_mm.py and for comparison.
_base_ = 'relocl_tvr.py'

# Padded clips leak into span logits; clips are always padded to 128 rows.
model = dict(padding='official', data_preprocessor=dict(pad_clips_to=128))

# Rows of pooled videos count as 1.5 s, whatever they cover.
load_clips = _base_.load_clips
load_clips[2].update(pooled_seconds='official')
train_dataloader = dict(
    dataset=dict(
        pipeline=[*_base_.load_query, *load_clips, dict(type='MomentToSpan'), *_base_.pack]
    )
)
corpus = dict(corpus_dataloader=dict(dataset=dict(pipeline=[*load_clips, *_base_.pack])))
val_cfg = corpus
test_cfg = corpus
