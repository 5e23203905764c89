"""Hooks."""

from reloclnet_mm.engine.hooks.averaged_weights import EMAHook
from reloclnet_mm.engine.hooks.baselines import BaselineHook
from reloclnet_mm.engine.hooks.checkpoint_check import CheckpointCheckHook
from reloclnet_mm.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from reloclnet_mm.engine.hooks.collapse_warning import CollapseWarningHook
from reloclnet_mm.engine.hooks.data_check import DataCheckHook
from reloclnet_mm.engine.hooks.early_stopping import EarlyStoppingHook
from reloclnet_mm.engine.hooks.finite_loss import FiniteLossHook
from reloclnet_mm.engine.hooks.hard_negatives import HardNegativeHook
from reloclnet_mm.engine.hooks.moment_lengths import MomentLengthHook
from reloclnet_mm.engine.hooks.progress_log import ProgressLoggerHook
from reloclnet_mm.engine.hooks.recall_table import RecallTableHook
from reloclnet_mm.engine.hooks.visualization_hook import MomentVisualizationHook

__all__ = [
    'AtomicCheckpointHook',
    'BaselineHook',
    'CheckpointCheckHook',
    'CollapseWarningHook',
    'DataCheckHook',
    'EMAHook',
    'EarlyStoppingHook',
    'FiniteLossHook',
    'HardNegativeHook',
    'MomentLengthHook',
    'MomentVisualizationHook',
    'ProgressLoggerHook',
    'RecallTableHook',
]
