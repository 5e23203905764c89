# The recipe of CONQUER's authors, under names of its own: a config takes it in place of the
# schedule of its first stage.
second_stage_schedule = dict(
    batch_size=16,
    train_cfg=dict(type='ResumableTrainLoop', max_epochs=50, val_interval=1),
    optim_wrapper=dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.01),
        # No decay for biases and LayerNorms.
        paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    ),
    # Share of training.
    param_scheduler=[
        dict(type='BertLinearLR', warmup=0.01, by_epoch=True, convert_to_iter_based=True)
    ],
    # Training stops after so many epochs without a better one: the authors' counter must exceed 3.
    patience=4,
)
