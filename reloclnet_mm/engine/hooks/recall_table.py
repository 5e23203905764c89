"""The recalls of a test as a table."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from reloclnet_mm.evaluation.table import recall_table
from reloclnet_mm.registry import HOOKS


@HOOKS.register_module()
class RecallTableHook(Hook):
    """Prints the recalls of a test as a table."""

    priority = 'VERY_LOW'

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Print."""
        if metrics:
            runner.logger.info('recalls in percent\n' + recall_table(metrics))
