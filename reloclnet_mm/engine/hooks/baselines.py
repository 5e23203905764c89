"""Models without training beside each test, and at the end of each training."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from reloclnet_mm.engine.baselines import compared_cells, evaluate_baseline, metrics_with_cells
from reloclnet_mm.engine.loops.corpus_loops import CorpusLoopMixin
from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.table import Cell, result_table
from reloclnet_mm.registry import HOOKS


@HOOKS.register_module()
class BaselineHook(Hook):
    """Compares a trained model with the nearest clip and the nearest sentence, which need none.

    In a test their results are added to the metrics, such as ``nearest_clip/VR/R1``, and to the
    table of :class:`RecallTableHook`. At the end of a training they are printed beside the
    validation of the best checkpoint, or the last one where none is chosen. Either says where the
    trained model is below.

    They compare features of queries and of videos as they are, so both have to be of one encoder
    and equally wide. Where they cannot be compared, a line says why. Each costs reading the
    features of the queries and the videos once more, once a test and once a training.

    Args:
        nearest_clip: Settings of the data sets of
            :class:`~reloclnet_mm.models.nearest.NearestClip` in the place of those of the model's,
            such as ``max_tokens``; None: it is left out. Its moments last as long as the median of
            ``train_dataloader``.
        nearest_sentence: The same of :class:`~reloclnet_mm.models.nearest.NearestSentence`, with
            the ``feature_files`` of sentences and ``times``.
    """

    # After the checkpoint hook, which chooses the best; RecallTableHook comes later.
    priority = 'VERY_LOW'

    def __init__(
        self,
        nearest_clip: Mapping[str, Any] | None = None,
        nearest_sentence: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(nearest_clip=nearest_clip, nearest_sentence=nearest_sentence)
        self.changes = {name: x for name, x in given.items() if x is not None}
        self._cells: list[Cell] = []
        self._checkpoint: str | None = None
        self._has_best = False
        self._validation: tuple[int, dict[str, float]] | None = None

    def table_cells(self) -> list[Cell]:
        """List the cells of the last evaluation."""
        return self._cells

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the results of the baselines to those of the test."""
        if metrics:
            self._compare(runner, runner.test_loop, metrics, 'the test')

    def before_train(self, runner: Runner) -> None:
        """Note which checkpoint of a resumed training is the best."""
        self._checkpoint = runner.message_hub.runtime_info.get('best_ckpt')

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the results of the best checkpoint; until there is one, those of the last."""
        best = runner.message_hub.runtime_info.get('best_ckpt')
        is_best = best != self._checkpoint
        if metrics and (is_best or not self._has_best):
            self._validation = runner.epoch, dict(metrics)
        self._checkpoint = best
        self._has_best |= is_best

    def after_train(self, runner: Runner) -> None:
        """Print the kept validation beside the baselines."""
        if self._validation is None:
            return
        epoch, metrics = self._validation
        self._compare(runner, runner.val_loop, metrics, f'the validation of epoch {epoch}')
        if self._cells:
            cells = [*_cells_of(runner.val_loop), *self._cells]
            table = result_table(metrics, cells)
            runner.logger.info(f'the validation of epoch {epoch}, results in percent\n{table}')

    def _compare(
        self, runner: Runner, loop: CorpusLoopMixin, metrics: dict[str, float], where: str
    ) -> None:
        """Add the results of the baselines to metrics, and warn where they are higher."""
        self._cells = []
        if not (isinstance(loop, CorpusLoopMixin) and metrics_with_cells(loop)):
            return
        if not any(True for _ in runner.model.parameters()):
            return
        for number, (name, changes) in enumerate(self.changes.items(), 1):
            label = name.replace('_', ' ')
            try:
                found = evaluate_baseline(runner, loop, name, changes)
            except InputError as error:
                runner.logger.info(f'without the {label} to compare with: {error}')
                continue
            cells = baseline_cells(_cells_of(loop), name, number)
            self._cells += cells
            metrics |= {f'{name}/{key}': value for key, value in found.items()}
            below = cells_below(_cells_of(loop), metrics, found)
            if below:
                runner.logger.warning(
                    f'{where}: below the {label}, which needs no training, in {", ".join(below)}'
                )


def _cells_of(loop: CorpusLoopMixin) -> list[Cell]:
    return [cell for metric in metrics_with_cells(loop) for cell in compared_cells(metric)]


def baseline_cells(cells: Iterable[Cell], name: str, number: int) -> list[Cell]:
    """List the cells of a baseline, each in a row of its own below that of the model.

    Args:
        cells: Cells of the model.
        name: Prefix of the baseline's results.
        number: Its place among the baselines, from 1 to 9.
    """
    label = name.replace('_', ' ')
    return [
        cell._replace(
            rank=cell.rank + number / 10, row=f'{cell.row} {label}', name=f'{name}/{cell.name}'
        )
        for cell in cells
    ]


def cells_below(
    cells: Iterable[Cell], results: Mapping[str, float], baseline: Mapping[str, float]
) -> list[str]:
    """Say in which cells results are lower than those of a baseline, such as ``VR R@1 1.0 (2.0)``.

    Args:
        cells: Cells of the model; those without a result are left out.
        results: Of the model.
        baseline: Of the baseline, by the same names.
    """
    return [
        f'{cell.column} {cell.row} {results[cell.name]:.2f} ({baseline[cell.name]:.2f})'
        for cell in cells
        if cell.name in results and results[cell.name] < baseline[cell.name]
    ]
