# ReLoCLNet, small, on the corpus that tools/make_planted_corpus.py writes: minutes on a CPU.
_base_ = 'relocl_tvr.py'

data_root = 'data/planted/'
channels = dict(video=256, subtitle=96, query=96)
embed_dims = 128
max_epochs = 6

files = dict(data_root=data_root, channels=channels)
corpus = dict(corpus_dataloader=dict(dataset=files))
train_dataloader = dict(batch_size=64, dataset=files)
val_dataloader = dict(dataset=files)
test_dataloader = val_dataloader
val_cfg = corpus
test_cfg = corpus

model = dict(
    streams=dict(video=channels['video'] + 2, subtitle=channels['subtitle'] + 2),
    query_channels=channels['query'],
    embed_dims=embed_dims,
    dropout=0.0,
)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
