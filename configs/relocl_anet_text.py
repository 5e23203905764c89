# ReLoCLNet on ActivityNet Captions as text, one stream; minutes on a CPU.
_base_ = [
    '_base_/models/reloclnet.py',
    '_base_/datasets/anet_text.py',
    '_base_/schedules/bert_adam.py',
    '_base_/default_runtime.py',
]

max_epochs = 4

# Moments cover a third of their video, so any span may be answered. Training is short: no dropout
# inside, contrastive and span losses that weigh more than on TVR, hard negatives from the start.
# alpha was chosen among 20, 40 and 80 on queries of training videos.
model = dict(
    streams=dict(_delete_=True, subtitle=386),
    query_channels=384,
    embed_dims=256,
    input_dropout=0.1,
    dropout=0.0,
    max_query_tokens={{_base_.max_query_tokens}},
    max_clips={{_base_.max_clips}},
    loss_span=dict(loss_weight=0.2),
    loss_frame=dict(loss_weight=0.1),
    loss_video=dict(loss_weight=0.3),
    test_cfg=dict(alpha=80.0, min_span=1, max_span={{_base_.max_clips}}),
)
train_cfg = dict(max_epochs=max_epochs)
# The two convolutions start from random kernels, and a step moves a weight by the learning rate at
# most: with so few steps they need a larger one to get anywhere.
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(custom_keys={'start_conv': dict(lr_mult=20), 'end_conv': dict(lr_mult=20)}),
)

custom_hooks = _base_.custom_hooks
custom_hooks[0].update(begin=0)
