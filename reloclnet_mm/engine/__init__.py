"""Loops, hooks, optimizers, schedules and checkpoints."""

from reloclnet_mm.engine.checkpoint_hook import AtomicCheckpointHook
from reloclnet_mm.engine.hooks import (
    CheckpointCheckHook,
    EarlyStoppingHook,
    HardNegativeHook,
    RecallTableHook,
)
from reloclnet_mm.engine.loops import CorpusTestLoop, CorpusValLoop
from reloclnet_mm.engine.optimizers import BertAdam, Bfloat16OptimWrapper
from reloclnet_mm.engine.resume_loop import ResumableTrainLoop
from reloclnet_mm.engine.runner import AnyDeviceRunner
from reloclnet_mm.engine.schedulers import BertLinearLR
from reloclnet_mm.engine.visualization_hook import MomentVisualizationHook

__all__ = [
    'AnyDeviceRunner',
    'AtomicCheckpointHook',
    'BertAdam',
    'BertLinearLR',
    'Bfloat16OptimWrapper',
    'CheckpointCheckHook',
    'CorpusTestLoop',
    'CorpusValLoop',
    'EarlyStoppingHook',
    'HardNegativeHook',
    'MomentVisualizationHook',
    'RecallTableHook',
    'ResumableTrainLoop',
]
