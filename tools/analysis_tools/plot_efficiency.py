"""Recall against cost from the report of a benchmark: a table and a plot.

Rows named `FIRST`, `FIRST + SECOND, top 1`, `FIRST + SECOND, top 10`, … are a line: a first stage
alone, and with a second stage that re-ranks so many of its videos.
"""

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabulate import tabulate

from reloclnet_mm.benchmarking.report import quantity, recall_cell
from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import write_text
from reloclnet_mm.utils.json_files import read_json
from reloclnet_mm.visualization.figures import COLORS, STYLE, save

RECALLS = {'VCMR/R1@0.5': 'VCMR R@1 IoU 0.5', 'VCMR/R1@0.7': 'VCMR R@1 IoU 0.7'}
TABLE_RECALLS = {'VR/R1': 'VR R@1', **RECALLS}
COSTS = {'latency_p50_ms': 'milliseconds a query (p50)', 'flops_per_query': 'FLOPs a query'}
_RERANKING = re.compile(r'(?P<line>(?P<first>.+) \+ .+), top \d+')


class Data(msgspec.Struct):
    """Size of the corpus.

    Attributes:
        videos: Number of videos.
        hours: Their length.
    """

    videos: int
    hours: float


class Row(msgspec.Struct):
    """A row of a report.

    Attributes:
        name: Its name.
        recalls: Name to ``value`` and, of several seeds, ``sd``.
        costs: As in the report.
    """

    name: str
    recalls: dict[str, dict[str, Any]]
    costs: dict[str, float]


class Report(msgspec.Struct):
    """What is read of ``report.json``."""

    data: Data
    rows: list[Row]


@dataclass(frozen=True)
class Line:
    """A first stage, alone or with a second stage.

    Attributes:
        name: Name of the line.
        first: Name of its first stage.
        rows: Its rows, by passes of the second stage.
    """

    name: str
    first: str
    rows: tuple[Row, ...]

    @property
    def reranks(self) -> bool:
        """Whether there is a second stage."""
        return self.name != self.first


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('report', type=Path, help='report.json of tools/benchmark.py')
    parser.add_argument('--out', type=Path, default=Path('efficiency.png'), help='image to write')
    parser.add_argument('--table', type=Path, help='also write the table to this Markdown file')
    return parser.parse_args(argv)


def lines_of(rows: Sequence[Row]) -> list[Line]:
    """Group rows into lines by their names.

    Raises:
        InputError: No row can be drawn.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if {
            *COSTS,
            'passes_per_query',
        } <= row.costs.keys() and row.recalls.keys() >= RECALLS.keys():
            named = _RERANKING.fullmatch(row.name)
            key = (named['line'], named['first']) if named else (row.name, row.name)
            groups.setdefault(key, []).append(row)
    if not groups:
        raise InputError(
            f'no row of the report has {", ".join([*RECALLS, *COSTS])}; give the report of models '
            'that were evaluated by tools/benchmark.py, not of predictions alone'
        )
    return [
        Line(*key, tuple(sorted(group, key=lambda row: row.costs['passes_per_query'])))
        for key, group in groups.items()
    ]


def table(lines: Iterable[Line], data: Data) -> str:
    """Return the rows of all lines as a Markdown table."""
    head = [
        *('', 'passes a query', *TABLE_RECALLS.values(), 'query p50, ms', 'p99, ms'),
        *('FLOPs a query', 'peak memory, MB', 'index, MB', 'index, s', 'index, FLOPs'),
    ]
    cells = [_cells(row, data) for line in lines for row in line.rows]
    return tabulate(cells, head, tablefmt='pipe', disable_numparse=True) + '\n'


def _cells(row: Row, data: Data) -> list[str]:
    costs = row.costs
    return [
        row.name,
        f'{costs["passes_per_query"]:g}',
        *(recall_cell(msgspec.structs.asdict(row), name) for name in TABLE_RECALLS),
        f'{costs["latency_p50_ms"]:.1f}',
        f'{costs["latency_p99_ms"]:.1f}',
        quantity(costs['flops_per_query']),
        quantity(costs['peak_memory_mb']),
        quantity(costs['index_bytes_per_hour'] * data.hours / 1e6),
        quantity(data.videos / costs['videos_per_s']),
        quantity(costs['flops_per_video'] * data.videos),
    ]


def draw(lines: Sequence[Line]) -> Figure:
    """Draw recalls against costs: a panel for each pair, a color for each first stage.

    Numbers beside the points say how many videos are re-ranked.
    """
    figure = Figure(figsize=(3.9 * len(RECALLS), 2.9 * len(COSTS) + 0.5), layout='constrained')
    panels = figure.subplots(len(COSTS), len(RECALLS), sharex='row', sharey='col')
    firsts = list(dict.fromkeys(line.first for line in lines))
    colors = {first: COLORS[i % len(COLORS)] for i, first in enumerate(firsts)}
    for of_cost, cost in zip(panels, COSTS, strict=True):
        for panel, recall in zip(of_cost, RECALLS, strict=True):
            for number, line in enumerate(line for line in lines if line.reranks):
                _label_points(panel, line, cost, recall, colors[line.first], below=number % 2)
            for line in lines:
                _draw_line(panel, line, cost, recall, colors[line.first])
            panel.set(xscale='log', xlabel=COSTS[cost], ylabel='percent', title=RECALLS[recall])
            panel.margins(x=0.1, y=0.15)
            _label_powers(panel)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside upper center', ncols=min(len(firsts), 3))
    return figure


def _draw_line(panel: Axes, line: Line, cost: str, recall: str, color: str) -> None:
    """Draw a line with error bars of seeds."""
    panel.errorbar(
        [row.costs[cost] for row in line.rows],
        [row.recalls[recall]['value'] for row in line.rows],
        [row.recalls[recall].get('sd', 0) for row in line.rows],
        label=line.name,
        color=color,
        elinewidth=0.8,
        **_style(line),
    )


def _label_points(
    panel: Axes, line: Line, cost: str, recall: str, color: str, *, below: bool
) -> None:
    """Write beside each point how many videos it re-ranks."""
    for row in line.rows:
        panel.annotate(
            f'{row.costs["passes_per_query"]:g}',
            (row.costs[cost], row.recalls[recall]['value']),
            (5, -5) if below else (-5, 5),
            textcoords='offset points',
            ha='left' if below else 'right',
            va='top' if below else 'bottom',
            fontsize=7,
            color=color,
        )


def _label_powers(panel: Axes) -> None:
    """Label a logarithmic axis with numbers as the table has them."""
    low, high = panel.get_xlim()
    factors = (1, 2, 5) if high < 30 * low else (1, 3) if high < 1000 * low else (1,)
    ticks = [f * 10.0**power for power in range(-3, 16) for f in factors]
    panel.set_xticks(ticks, [quantity(tick) for tick in ticks])
    panel.minorticks_off()
    panel.set_xlim(low, high)


def _style(line: Line) -> Mapping[str, Any]:
    if line.reranks:
        return dict(marker='o', markersize=4, linewidth=1.4)
    return dict(marker='D', markersize=6, linestyle='none', markerfacecolor='white')


def main(argv: list[str] | None = None) -> None:
    """Read a report, write the table and the plot."""
    args = parse_args(argv)
    with input_errors_end_the_program(), mpl.rc_context({**STYLE, 'text.parse_math': False}):
        report = read_json(args.report, Report)
        lines = lines_of(report.rows)
        written = table(lines, report.data)
        print(written)
        save(draw(lines), args.out)
        if args.table is not None:
            write_text(args.table, written)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
