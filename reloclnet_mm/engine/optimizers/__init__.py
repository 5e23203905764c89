"""Optimizers, schedules and precision of training."""

from reloclnet_mm.engine.optimizers.bert_adam import BertAdam
from reloclnet_mm.engine.optimizers.bfloat16 import Bfloat16OptimWrapper
from reloclnet_mm.engine.optimizers.schedulers import BertLinearLR

__all__ = ['BertAdam', 'BertLinearLR', 'Bfloat16OptimWrapper']
