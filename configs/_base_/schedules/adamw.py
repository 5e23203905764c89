# AdamW, a short warm-up, then a cosine; stopped early. No decay for vectors and positions.
max_epochs = 6
lr = 1e-3
weight_decay = 0.05
# A twentieth of a training on ActivityNet Captions as text.
warmup_steps = 58
patience = 3

train_cfg = dict(type='ResumableTrainLoop', max_epochs=max_epochs, val_interval=1)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=weight_decay),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup_steps),
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
custom_hooks = [early_stopping, recall_table, moment_lengths]
auto_scale_lr = dict(enable=False, base_batch_size=128)
