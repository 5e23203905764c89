"""Harder negatives from an epoch on."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from reloclnet_mm.registry import HOOKS
from reloclnet_mm.utils.models import bare_model


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
        model = bare_model(runner.model)
        model.loss_ranking.pool_size = self.pool_size if runner.epoch >= self.begin else None
