# Lists drawn at random, on ActivityNet Captions as text.
_base_ = [
    '_base_/datasets/anet_text.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/no_training.py',
    '_base_/default_runtime.py',
]

model = dict(type='Chance', test_cfg=dict(min_span=1, max_span=_base_.max_clips))
train_dataloader = None
