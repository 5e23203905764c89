"""The results of a test as tables."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from reloclnet_mm.evaluation.table import result_table
from reloclnet_mm.registry import HOOKS


@HOOKS.register_module()
class RecallTableHook(Hook):
    """Print the results of a test: tables of what metrics have cells for, the others below them.

    A metric or a hook has cells if it has a method ``table_cells``, which returns a list of
    :class:`~reloclnet_mm.evaluation.table.Cell`.
    """

    # After the hooks that add to the results.
    priority = 'LOWEST'

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Print."""
        if metrics:
            owners = [*runner.test_loop.evaluator.metrics, *runner.hooks]
            cells = [cell for x in owners for cell in getattr(x, 'table_cells', list)()]
            runner.logger.info('results in percent\n' + result_table(metrics, cells))
