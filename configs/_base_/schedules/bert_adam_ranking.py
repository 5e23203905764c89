# The paper's recipe for queries with many right moments: 25 epochs, as the program of TVR-Ranking's
# authors, hard negatives in the last five; stopped and chosen by NDCG.
_base_ = 'bert_adam.py'

max_epochs = 25
monitor = 'VCMR/NDCG20@0.5'

train_cfg = dict(max_epochs=max_epochs)
early_stopping = _base_.early_stopping
early_stopping.update(monitor=monitor)
custom_hooks = [_base_.hard_negatives, early_stopping, _base_.recall_table]
