"""Hooks for what changes during training, and for what a run prints."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from reloclnet_mm.evaluation.table import recall_table
from reloclnet_mm.registry import HOOKS


@HOOKS.register_module()
class HardNegativeHook(Hook):
    """From an epoch on, draws the ranking loss's negatives from the hardest only.

    The setting follows from the epoch alone, so a resumed run needs no state of it.

    Args:
        begin: First epoch, from 0, with hard negatives.
        pool_size: How many of the best scored they are drawn from.
    """

    def __init__(self, begin: int = 20, pool_size: int = 20) -> None:
        self.begin = begin
        self.pool_size = pool_size

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the pool."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.loss_ranking.pool_size = self.pool_size if runner.epoch >= self.begin else None


@HOOKS.register_module()
class RecallTableHook(Hook):
    """Prints the recalls of a test as a table."""

    priority = 'VERY_LOW'

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Print."""
        if metrics:
            runner.logger.info('recalls in percent\n' + recall_table(metrics))
