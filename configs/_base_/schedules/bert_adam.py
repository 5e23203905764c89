# The paper's recipe: BERT's Adam, a short warm-up, linear decay, hard negatives after a while.
max_epochs = 100
lr = 1e-4
# Share of training.
warmup = 0.01
weight_decay = 0.01
# From this epoch on, negatives come from so many best scored ones.
hard_negatives_begin = 20
hard_negatives_pool = 20
# Training stops after so many epochs without a better one: the authors' counter must exceed 10.
patience = 11

train_cfg = dict(type='ResumableTrainLoop', max_epochs=max_epochs, val_interval=1)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='BertAdam',
        lr=lr,
        betas=(0.9, 0.999),
        eps=1e-6,
        weight_decay=weight_decay,
        max_grad_norm=1.0,
    ),
    # No decay for biases and LayerNorms. The authors' program misses the weights of the two
    # LayerNorms after cross-attention, so they decay.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={'cross_norm.weight': dict(decay_mult=1.0)},
    ),
)
param_scheduler = [
    dict(type='BertLinearLR', warmup=warmup, by_epoch=True, convert_to_iter_based=True)
]
hard_negatives = dict(
    type='HardNegativeHook', begin=hard_negatives_begin, pool_size=hard_negatives_pool
)
early_stopping = dict(
    type='EarlyStoppingHook',
    monitor='VCMR/R1@0.5+0.7',
    rule='greater',
    patience=patience,
    # At 0 mmengine takes an equal score for a better one; recalls are rounded to 0.01.
    min_delta=0.005,
)
recall_table = dict(type='RecallTableHook')
custom_hooks = [hard_negatives, early_stopping, recall_table]
auto_scale_lr = dict(enable=False, base_batch_size=128)
