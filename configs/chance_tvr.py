# Lists drawn at random, on TVR.
_base_ = [
    '_base_/datasets/tvr.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/no_training.py',
    '_base_/default_runtime.py',
]

model = dict(type='Chance')
train_dataloader = None
