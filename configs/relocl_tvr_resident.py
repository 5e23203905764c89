# ReLoCLNet on TVR with all features on the GPU: some 11 GB as packed stores in float16, which
# tools/pack_features.py makes of the h5 files (--dtype float16).
_base_ = 'relocl_tvr.py'

data_root = 'data/tvr/'
feature_files = dict(video='video.pack', subtitle='subtitle.pack', query='query.pack')
channels = dict(video=3072, subtitle=768, query=768)
max_clips = 128
max_tokens = 30

count_clips = [dict(type='CountClips', stream='video', clip_length=1.5, max_clips=max_clips)]
pack = [dict(type='PackMomentInputs')]

files = dict(data_root=data_root, feature_files=feature_files, channels=channels)
# A sample is names and numbers, which no worker could send faster than they are made.
loading = dict(num_workers=0, persistent_workers=False)

train_dataloader = dict(
    **loading,
    dataset=dict(pipeline=[*count_clips, dict(type='MomentToSpan'), *pack], **files),
)
val_dataloader = dict(**loading, dataset=dict(pipeline=pack, **files))
test_dataloader = val_dataloader
corpus = dict(
    corpus_dataloader=dict(num_workers=0, dataset=dict(pipeline=[*count_clips, *pack], **files))
)
val_cfg = corpus
test_cfg = corpus

model = dict(
    data_preprocessor=dict(
        _delete_=True,
        type='ResidentDataPreprocessor',
        normalize=['query', 'subtitle'],
        append_tef=True,
        max_tokens=max_tokens,
        max_clips=max_clips,
        # One block of rows: on a GPU it is the number of operations that counts, padding hardly.
        slack=1,
        **files,
    )
)
optim_wrapper = dict(type='Bfloat16OptimWrapper')
