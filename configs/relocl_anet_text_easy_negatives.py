# Ablation: ranking negatives from all videos of the batch to the end.
_base_ = 'relocl_anet_text.py'

custom_hooks = _base_.custom_hooks[1:]
