"""Compare trainings: recalls by task, seeds of the same config as mean and standard deviation.

Runs whose configs differ in nothing but seed and folders are one row. Each run counts with its best
epoch by --by, the number that checkpoints are kept by, or with its last one. Picking the best epoch
on the data that is reported leans to the bright side, equally for all runs.
"""

import argparse
import ast
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabulate import tabulate

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.run_logs import Series, labels_of, log_folders, read_scalars
from reloclnet_mm.visualization.figures import COLORS, STYLE, save

RECALLS = ('VR/R1', 'VR/R10', 'SVMR/R1@0.5', 'SVMR/R1@0.7', 'VCMR/R1@0.5', 'VCMR/R1@0.7')
# Where runs of the same experiment differ.
NOT_THE_EXPERIMENT = {
    'experiment_name',
    'launcher',
    'load_from',
    'randomness',
    'resume',
    'work_dir',
}
COLUMNS = 3


@dataclass(frozen=True)
class Result:
    """What a run reached.

    Attributes:
        name: Of the run.
        epoch: At which.
        recalls: Name to percent.
    """

    name: str
    epoch: int
    recalls: dict[str, float]


@dataclass(frozen=True)
class Row:
    """Runs of one experiment.

    Attributes:
        label: For the reader.
        results: One or more.
    """

    label: str
    results: tuple[Result, ...]

    def values(self, key: str) -> list[float]:
        """One of the recalls, of the runs that logged it."""
        return [r.recalls[key] for r in self.results if key in r.recalls]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('--epoch', choices=('best', 'last'), default='best')
    parser.add_argument(
        '--by', default='VCMR/R1@0.5+0.7', help='the recall by which an epoch is the best'
    )
    parser.add_argument('--keys', nargs='+', default=RECALLS, help='recalls to compare, as logged')
    parser.add_argument('--each', action='store_true', help='a row for each run, also for seeds')
    parser.add_argument('--out', type=Path, help='image to write')
    return parser.parse_args(argv)


def result_of(
    name: str, validations: dict[str, Series], by: str | None, keys: Sequence[str]
) -> Result:
    """What a run reached at its best or at its last epoch.

    Args:
        name: Of the run.
        validations: Recalls by name and epoch.
        by: The recall whose first highest value makes an epoch the best; None: the last epoch.
        keys: Recalls to report.

    Raises:
        InputError: The run never logged one of them.
    """
    for key in (*keys, *([by] if by else [])):
        if key not in validations:
            logged = ', '.join(validations) or 'nothing, for it never came to a validation'
            raise InputError(f'{name}: {key!r} was never logged; choose among what was: {logged}')
    if by is None:
        epoch = max(max(validations[key]) for key in keys)
    else:
        epoch = max(sorted(validations[by]), key=validations[by].__getitem__)
    recalls = {key: validations[key][epoch] for key in keys if epoch in validations[key]}
    return Result(name, epoch, recalls)


def experiment_of(work_dir: Path) -> tuple[tuple[str, str], ...]:
    """The settings of a run but for seed and folders, the same for runs of one experiment.

    The config is read as text: nothing in it is run.

    Raises:
        InputError: There is no config, or it holds something else than settings.
    """
    # A test logs no scalars, and its config is not the training's.
    path = log_folders(work_dir)[-1] / 'config.py'
    if not path.is_file():
        raise InputError(
            f'{path}: no such file; expected the config of the training, to tell which runs differ '
            'in the seed alone. Put it there, or compare with --each'
        )
    try:
        lines = ast.parse(path.read_text(encoding='utf-8')).body
    except SyntaxError as e:
        raise InputError(f'{path}:{e.lineno}: {e.msg}; mend it, or compare with --each') from e
    settings = []
    for line in lines:
        match line:
            case ast.Assign(targets=[ast.Name(name)], value=value):
                if name not in NOT_THE_EXPERIMENT:
                    settings.append((name, ast.dump(value)))
            case _:
                raise InputError(
                    f'{path}:{line.lineno}: found {ast.unparse(line)[:60]!r}, expected only '
                    'settings `name = value`; mend it, or compare with --each'
                )
    return tuple(sorted(settings))


def rows_of(results: Sequence[Result], experiments: Sequence[object]) -> list[Row]:
    """Results of the same experiment together, in the order in which they were named."""
    groups: dict[object, list[Result]] = {}
    for result, experiment in zip(results, experiments, strict=True):
        groups.setdefault(experiment, []).append(result)
    return [Row(group_label([r.name for r in group]), tuple(group)) for group in groups.values()]


def group_label(names: Sequence[str]) -> str:
    """``seed0`` and ``seed1`` as ``seed{0,1}``."""
    if len(names) == 1:
        return names[0]
    first, last = min(names), max(names)
    shared = [a for a, _ in takewhile(lambda x: x[0] == x[1], zip(first, last, strict=False))]
    # Numbers stay whole: seed{1,10}.
    common = ''.join(shared).rstrip('0123456789')
    return f'{common}{{{",".join(name.removeprefix(common) for name in names)}}}'


def table(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Runs as rows, recalls as columns; of several runs the mean and the standard deviation."""
    header = ['', 'epoch', *keys]
    body = [
        [
            row.label,
            ','.join(str(result.epoch) for result in row.results),
            *(cell(row.values(key)) for key in keys),
        ]
        for row in rows
    ]
    alignment = ('left', *['right'] * (len(header) - 1))
    return tabulate(body, header, colalign=alignment, disable_numparse=True)


def cell(values: Sequence[float]) -> str:
    """A value; the mean ± the sample standard deviation of several; empty where there is none."""
    if len(values) < 2:
        return ''.join(f'{x:.2f}' for x in values)
    return f'{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}'


def draw(rows: Sequence[Row], keys: Sequence[str]) -> Figure:
    """A panel for each recall: a dot for each run; mean and standard deviation of several."""
    columns = min(COLUMNS, len(keys))
    lines = math.ceil(len(keys) / columns)
    size = (3.3 * columns, (0.9 + 0.28 * len(rows)) * lines)
    figure = Figure(figsize=size, layout='constrained')
    panels = figure.subplots(lines, columns, squeeze=False)
    free = list(panels.flat)
    for place, (panel, key) in enumerate(zip(free, keys, strict=False)):
        draw_panel(panel, rows, key)
        shown = [row.label if place % columns == 0 else '' for row in rows]
        panel.set_yticks(range(len(rows)), shown)
    for panel in free[len(keys) :]:
        panel.remove()
    return figure


def draw_panel(panel: Axes, rows: Sequence[Row], key: str) -> None:
    """One recall: rows from above to below."""
    for place, row in enumerate(rows):
        values, color = row.values(key), COLORS[place % len(COLORS)]
        if len(values) > 1:
            panel.errorbar(
                statistics.mean(values),
                place,
                xerr=statistics.stdev(values),
                fmt='|',
                color=color,
                markersize=12,
                capsize=3,
            )
        panel.plot(values, [place] * len(values), 'o', color=color, markersize=5, alpha=0.6, mew=0)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.margins(x=0.15)
    panel.grid(axis='y', visible=False)
    panel.set_title(f'{key} (%)')


def main(argv: list[str] | None = None) -> None:
    """Read, print and draw."""
    args = parse_args(argv)
    by = args.by if args.epoch == 'best' else None
    with input_errors_end_the_program(), mpl.rc_context(STYLE):
        names = labels_of(args.work_dirs)
        results = [
            result_of(name, read_scalars(work_dir)['val'], by, args.keys)
            for name, work_dir in zip(names, args.work_dirs, strict=True)
        ]
        experiments = names if args.each else [experiment_of(path) for path in args.work_dirs]
        rows = rows_of(results, experiments)
        if args.out is not None:
            save(draw(rows, args.keys), args.out)
    print(f'recalls in percent, {args.epoch} epoch' + (f' by {by}' if by else ''))
    print(table(rows, args.keys))
    if args.out is not None:
        print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
