# A few epochs on a CPU: a larger learning rate, hard negatives from the start.
_base_ = 'bert_adam.py'

max_epochs = 4
lr = 5e-4
# The convolutions of the span head start from random kernels, and a step moves a weight by the
# learning rate at most: with so few steps they need a larger one to get anywhere.
conv_lr_mult = 20

train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(
    optimizer=dict(lr=lr),
    paramwise_cfg=dict(
        custom_keys={
            'start_conv': dict(lr_mult=conv_lr_mult),
            'end_conv': dict(lr_mult=conv_lr_mult),
        }
    ),
)
hard_negatives = _base_.hard_negatives
hard_negatives.update(begin=0)
custom_hooks = [hard_negatives, _base_.early_stopping, _base_.recall_table]
