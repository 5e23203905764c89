"""The results of an evaluation as a table."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tabulate import tabulate


class Cell(NamedTuple):
    """Where a metric is in the table.

    Attributes:
        rank: Sorts the rows.
        row: Label, such as ``R@1``.
        column: Label, such as ``VCMR IoU 0.5``.
        name: Name of the metric in what an evaluator returns, such as ``VCMR/R1@0.5``.
        in_brackets: Whether it is shown behind the metric of the same row and column.
    """

    rank: int
    row: str
    column: str
    name: str
    in_brackets: bool = False


def recall_cells(
    prefix: str,
    label: str,
    top_k: Iterable[int],
    ious: Iterable[float | None],
    in_brackets: bool = False,
) -> list[Cell]:
    """List the cells of recalls that are named ``{prefix}/R{K}`` or ``{prefix}/R{K}@{IoU}``.

    Args:
        prefix: Prefix of the names.
        label: Label of the columns, without the IoU.
        top_k: The K.
        ious: IoU thresholds; None: the recall has none.
        in_brackets: See :class:`Cell`.
    """
    columns = {iou: label if iou is None else f'{label} IoU {iou}' for iou in ious}
    return [
        Cell(k, f'R@{k}', column, f'{prefix}/{recall_name(k, iou)}', in_brackets)
        for iou, column in columns.items()
        for k in top_k
    ]


def recall_name(top_k: int, iou: float | None) -> str:
    """Name a recall: ``R1``, ``R1@0.5``."""
    return f'R{top_k}' if iou is None else f'R{top_k}@{iou}'


def result_table(results: Mapping[str, Any], metrics: Iterable[Any]) -> str:
    """Draw the table that metrics ask for, and list the results of other metrics below it.

    A metric that has a method ``table_cells`` says where its results are; what else it reports
    under its prefix, such as recalls by query type, is left to the log.

    Args:
        results: What an evaluator returns.
        metrics: The evaluator's metrics.

    Returns:
        Several lines.
    """
    known = [metric for metric in metrics if hasattr(metric, 'table_cells')]
    cells = [cell for metric in known for cell in metric.table_cells() if cell.name in results]
    cells.sort(key=lambda cell: cell.in_brackets)
    shown: dict[tuple[str, str], str] = {}
    for cell in cells:
        value, place = f'{results[cell.name]:.2f}', (cell.row, cell.column)
        value = f'({value})' if cell.in_brackets else value
        shown[place] = f'{shown[place]} {value}' if place in shown else value
    rows = dict.fromkeys(cell.row for cell in sorted(cells, key=lambda cell: cell.rank))
    columns = dict.fromkeys(cell.column for cell in cells)
    lines = [[row, *(shown.get((row, column), '') for column in columns)] for row in rows]
    table = tabulate(lines, ['', *columns], stralign='right', disable_numparse=True)
    prefixes = tuple(f'{metric.prefix}/' for metric in known)
    others = [
        f'{name}: {value:.4f}' if isinstance(value, float) else f'{name}: {value}'
        for name, value in results.items()
        if not name.startswith(prefixes)
    ]
    return '\n'.join([table] * bool(cells) + others)
