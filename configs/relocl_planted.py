# ReLoCLNet, small, on the corpus that tools/make_planted_corpus.py writes: minutes on a CPU.
_base_ = 'relocl_tvr.py'

data_root = 'data/planted/'
channels = dict(video=256, subtitle=96, query=96)
batch_size = 64
embed_dims = 128
max_epochs = 6
lr = 1e-3

files = dict(dataset=dict(data_root=data_root, channels=channels))
train_dataloader = dict(batch_size=batch_size, **files)
val_dataloader = files
test_dataloader = files
val_corpus_dataloader = files
test_corpus_dataloader = files

model = dict(
    streams=dict(video=channels['video'] + 2, subtitle=channels['subtitle'] + 2),
    query_channels=channels['query'],
    embed_dims=embed_dims,
    dropout=0.0,
)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=lr))
