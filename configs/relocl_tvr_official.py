# ReLoCLNet on TVR exactly as the authors' program computes it, with its known defects: for
# checkpoints converted by tools/model_converters/official_to_mm.py and for comparison.
_base_ = 'relocl_tvr.py'

# Padded clips leak into span logits; clips are always padded to the most that a video has.
model = dict(padding='official', data_preprocessor=dict(pad_clips_to=_base_.max_clips))

# Rows of pooled videos count as 1.5 s, whatever they cover.
load_clips = _base_.load_clips
load_clips[2].update(pooled_seconds='official')
train_dataloader = dict(
    dataset=dict(
        pipeline=[*_base_.load_query, *load_clips, dict(type='MomentToSpan'), *_base_.pack]
    )
)
corpus = dict(dataset=dict(pipeline=[*load_clips, *_base_.pack]))
val_corpus_dataloader = corpus
test_corpus_dataloader = corpus
