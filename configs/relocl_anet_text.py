# ReLoCLNet on ActivityNet Captions as text, one stream; minutes on a CPU.
_base_ = [
    '_base_/models/reloclnet.py',
    '_base_/datasets/anet_text.py',
    '_base_/schedules/bert_adam.py',
    '_base_/default_runtime.py',
]

max_epochs = 10

model = dict(
    streams=dict(_delete_=True, subtitle=386),
    query_channels=384,
    embed_dims=256,
    max_query_tokens={{_base_.max_query_tokens}},
    max_clips={{_base_.max_clips}},
    test_cfg=dict(alpha=20.0, min_span=1, max_span={{_base_.max_clips}}),
)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
