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
        table: Title of the table; cells of a title are a table of their own.
    """

    rank: float
    row: str
    column: str
    name: str
    in_brackets: bool = False
    table: str = ''


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


def result_table(results: Mapping[str, Any], cells: Iterable[Cell]) -> str:
    """Draw tables of results, and list below them those of which no cell has the prefix.

    What a metric reports beside its cells under the same prefix, such as recalls by query type, is
    left to the log.

    Args:
        results: What an evaluator returns.
        cells: What the metrics' ``table_cells`` return; those without a result are left out.

    Returns:
        Several lines.
    """
    cells = list(cells)
    prefixes = tuple(cell.name.rpartition('/')[0] + '/' for cell in cells)
    cells = [cell for cell in cells if cell.name in results]
    titles = dict.fromkeys(cell.table for cell in cells)
    tables = [_draw(title, [x for x in cells if x.table == title], results) for title in titles]
    others = [
        f'{name}: {value:.4f}' if isinstance(value, float) else f'{name}: {value}'
        for name, value in results.items()
        if not name.startswith(prefixes)
    ]
    return '\n'.join(['\n\n'.join(tables)] * bool(tables) + others)


def _draw(title: str, cells: Iterable[Cell], results: Mapping[str, Any]) -> str:
    cells = sorted(cells, key=lambda cell: cell.in_brackets)
    shown: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        value = f'{results[cell.name]:.2f}'
        value = f'({value})' if cell.in_brackets else value
        shown.setdefault((cell.row, cell.column), []).append(value)
    rows = dict.fromkeys(cell.row for cell in sorted(cells, key=lambda cell: cell.rank))
    columns = dict.fromkeys(cell.column for cell in cells)
    lines = [[row, *(' '.join(shown.get((row, x), ())) for x in columns)] for row in rows]
    return tabulate(lines, [title, *columns], stralign='right', disable_numparse=True)
