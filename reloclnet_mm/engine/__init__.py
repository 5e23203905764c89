"""Loops, hooks, optimizers, schedules and checkpoints."""

from reloclnet_mm.engine.checkpoint_hook import AtomicCheckpointHook
from reloclnet_mm.engine.hooks import (
    CheckpointCheckHook,
    HardNegativeHook,
    RecallTableHook,
    TrainingEarlyStoppingHook,
)
from reloclnet_mm.engine.loops import CorpusTestLoop, CorpusValLoop
from reloclnet_mm.engine.optimizers import BertAdam
from reloclnet_mm.engine.schedulers import BertLinearLR

__all__ = [
    'AtomicCheckpointHook',
    'BertAdam',
    'BertLinearLR',
    'CheckpointCheckHook',
    'CorpusTestLoop',
    'CorpusValLoop',
    'HardNegativeHook',
    'RecallTableHook',
    'TrainingEarlyStoppingHook',
]
