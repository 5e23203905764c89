# ReLoCLNet on TVR with all features on the GPU: some 11 GB as packed stores in float16, which
# tools/pack_features.py makes of the h5 files (--dtype float16).
_base_ = 'relocl_tvr.py'

feature_files = dict(video='video.pack', subtitle='subtitle.pack', query='query.pack')

count_clips = [
    dict(
        type='CountClips',
        stream='video',
        clip_length=_base_.clip_length,
        max_clips=_base_.max_clips,
    )
]
files = dict(feature_files=feature_files)
# A sample is names and numbers, which no worker could send faster than they are made.
loading = dict(num_workers=0, persistent_workers=False)

train_dataloader = dict(
    **loading,
    dataset=dict(pipeline=[*count_clips, dict(type='MomentToSpan'), *_base_.pack], **files),
)
val_dataloader = dict(**loading, dataset=dict(pipeline=_base_.pack, **files))
test_dataloader = val_dataloader
val_corpus_dataloader = dict(
    num_workers=0, dataset=dict(pipeline=[*count_clips, *_base_.pack], **files)
)
test_corpus_dataloader = val_corpus_dataloader

model = dict(
    data_preprocessor=dict(
        _delete_=True,
        type='ResidentDataPreprocessor',
        data_root=_base_.data_root,
        feature_files=feature_files,
        channels=_base_.channels,
        normalize=['query', 'subtitle'],
        append_tef=True,
        max_tokens=_base_.max_tokens,
        max_clips=_base_.max_clips,
        # One block of rows: on a GPU the number of operations counts, padding hardly.
        slack=1,
    )
)
optim_wrapper = dict(type='Bfloat16OptimWrapper')
