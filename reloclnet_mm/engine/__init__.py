"""Loops, hooks, optimizers, checkpoints and the runner."""

from reloclnet_mm.engine.hooks import (
    AtomicCheckpointHook,
    BaselineHook,
    CheckpointCheckHook,
    CollapseWarningHook,
    DataCheckHook,
    EarlyStoppingHook,
    FiniteLossHook,
    HardNegativeHook,
    MomentVisualizationHook,
    ProgressLoggerHook,
    RecallTableHook,
)
from reloclnet_mm.engine.loops import CorpusTestLoop, CorpusValLoop, ResumableTrainLoop
from reloclnet_mm.engine.optimizers import BertAdam, BertLinearLR, Bfloat16OptimWrapper
from reloclnet_mm.engine.runner import AnyDeviceRunner

__all__ = [
    'AnyDeviceRunner',
    'AtomicCheckpointHook',
    'BaselineHook',
    'BertAdam',
    'BertLinearLR',
    'Bfloat16OptimWrapper',
    'CheckpointCheckHook',
    'CollapseWarningHook',
    'CorpusTestLoop',
    'CorpusValLoop',
    'DataCheckHook',
    'EarlyStoppingHook',
    'FiniteLossHook',
    'HardNegativeHook',
    'MomentVisualizationHook',
    'ProgressLoggerHook',
    'RecallTableHook',
    'ResumableTrainLoop',
]
