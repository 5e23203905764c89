# AdamW, an epoch of warm-up times a cosine; stopped early. No decay for vectors and positions.
# Averaged weights are validated and saved, and the model as it begins is epoch 0, so that the best
# checkpoint is that one where training makes it no better.
max_epochs = 6
lr = 1e-3
weight_decay = 0.2
patience = 3

train_cfg = dict(
    type='ResumableTrainLoop', max_epochs=max_epochs, val_interval=1, val_untrained=True
)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=weight_decay),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=0, convert_to_iter_based=True),
]
early_stopping = dict(
    type='EarlyStoppingHook',
    monitor='VCMR/R1@0.5+0.7',
    rule='greater',
    patience=patience,
    # At 0 mmengine takes an equal score for a better one; recalls are rounded to 0.01.
    min_delta=0.005,
)
recall_table = dict(type='RecallTableHook')
moment_lengths = dict(type='MomentLengthHook')
# Over the last tenth of the steps at first, later over the last hundred.
averaged_weights = dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.01, gamma=10)
custom_hooks = [early_stopping, recall_table, moment_lengths, averaged_weights]
auto_scale_lr = dict(enable=False, base_batch_size=256)
