"""The results of a test as tables."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from reloclnet_mm.evaluation.table import result_table
from reloclnet_mm.registry import HOOKS


@HOOKS.register_module()
class RecallTableHook(Hook):
    """Print the results of a test: tables of what metrics have cells for, the others below them.

    A metric has cells if it has a method ``table_cells``, which returns a list of
    :class:`~reloclnet_mm.evaluation.table.Cell`.
    """

    priority = 'VERY_LOW'

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Print."""
        if metrics:
            declared = (getattr(m, 'table_cells', list) for m in runner.test_loop.evaluator.metrics)
            cells = [cell for table_cells in declared for cell in table_cells()]
            runner.logger.info('results in percent\n' + result_table(metrics, cells))
