# ReLoCLNet on TVR: the paper's recipe.
_base_ = [
    '_base_/models/reloclnet.py',
    '_base_/datasets/tvr.py',
    '_base_/schedules/bert_adam.py',
    '_base_/default_runtime.py',
]
