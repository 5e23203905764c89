# Ablation: no hard negatives; those of the ranking loss are drawn from all videos of the batch
# throughout training.
_base_ = 'relocl_tvr.py'

custom_hooks = [_base_.early_stopping, _base_.recall_table]
