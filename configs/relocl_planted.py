# ReLoCLNet, small, on the corpus that tools/make_planted_corpus.py writes: minutes on a CPU.
_base_ = 'relocl_tvr.py'

channels = dict(video=256, subtitle=96, query=96)
batch_size = 64
embed_dims = 128
max_epochs = 6
lr = 1e-3

data = dict(dataset=dict(data_root='data/planted/', channels=channels))
train_dataloader = dict(batch_size=batch_size, **data)
val_dataloader = data
test_dataloader = data
val_corpus_dataloader = data
test_corpus_dataloader = data

model = dict(
    streams=dict(video=channels['video'] + 2, subtitle=channels['subtitle'] + 2),
    query_channels=channels['query'],
    embed_dims=embed_dims,
    dropout=0.0,
)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=lr))
