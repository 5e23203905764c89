# ReLoCLNet on TVR with all features on the GPU: some 11 GB as packed stores in float16, which
# tools/pack_features.py makes of the h5 files (--dtype float16).
_base_ = 'relocl_tvr.py'

data = dict(
    data_root=_base_.data_root,
    feature_files=dict(video='video.pack', subtitle='subtitle.pack', query='query.pack'),
    channels=_base_.channels,
    normalize=_base_.data.normalize,
    max_clips=_base_.max_clips,
    max_tokens=_base_.max_tokens,
)
count_clips = dict(type='CountClips')
pack = dict(type='PackMomentInputs')
train_pipeline = [count_clips, dict(type='MomentToSpan'), pack]
corpus_pipeline = [count_clips, pack]
# A sample is names and numbers, which no worker could send faster than they are made.
loading = dict(num_workers=0, persistent_workers=False)

train_dataloader = dict(**loading, dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(**loading, dataset=dict(pipeline=[pack], **data))
val_corpus_dataloader = dict(num_workers=0, dataset=dict(pipeline=corpus_pipeline, **data))
test_dataloader = val_dataloader
test_corpus_dataloader = val_corpus_dataloader

model = dict(
    data_preprocessor=dict(
        _delete_=True,
        type='ResidentDataPreprocessor',
        append_tef=True,
        # One block of rows: on a GPU the number of operations counts, padding hardly.
        slack=1,
        **data,
    )
)
optim_wrapper = dict(type='Bfloat16OptimWrapper')
