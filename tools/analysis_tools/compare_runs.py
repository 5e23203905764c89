"""Compare the recalls of trainings in a table and a figure.

Runs whose configs differ only in seed and folders become one row, with mean and standard deviation.
Each run is shown at its best epoch, chosen by --by, or at its last one. The best epoch is chosen on
the data that is reported, so these recalls are a little too high, in the same way for all runs.
"""

import argparse
import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabulate import tabulate

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import read_text
from reloclnet_mm.utils.run_logs import Series, labels_of, log_folders, read_scalars
from reloclnet_mm.visualization.figures import COLORS, STYLE, save

RECALLS = ('VR/R1', 'VR/R10', 'SVMR/R1@0.5', 'SVMR/R1@0.7', 'VCMR/R1@0.5', 'VCMR/R1@0.7')
# Settings in which runs of the same experiment may differ.
NOT_THE_EXPERIMENT = {
    *('experiment_name', 'launcher', 'load_from', 'randomness', 'resume', 'work_dir'),
}
COLUMNS = 3


@dataclass(frozen=True)
class Result:
    """The recalls of one run.

    Attributes:
        name: Name of the run.
        epoch: Epoch of the recalls.
        recalls: Percent by name.
    """

    name: str
    epoch: int
    recalls: dict[str, float]


@dataclass(frozen=True)
class Row:
    """The runs of one experiment.

    Attributes:
        label: Name to show.
        results: A result for each run.
    """

    label: str
    results: tuple[Result, ...]

    def values(self, key: str) -> list[float]:
        """Return one of the recalls for each run that logged it."""
        return [r.recalls[key] for r in self.results if key in r.recalls]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('--epoch', choices=('best', 'last'), default='best')
    parser.add_argument('--by', default='VCMR/R1@0.5+0.7', help='recall that makes an epoch best')
    parser.add_argument('--keys', nargs='+', default=RECALLS, help='recalls to compare, as logged')
    parser.add_argument('--each', action='store_true', help='show each run in a row of its own')
    parser.add_argument('--out', type=Path, help='image to write')
    return parser.parse_args(argv)


def result_of(
    name: str, validations: dict[str, Series], by: str | None, keys: Sequence[str]
) -> Result:
    """Return the recalls of a run at its best or at its last epoch.

    Args:
        name: Name of the run.
        validations: Recalls by name and epoch.
        by: Recall whose highest value, the first of equal ones, chooses the epoch; None for the
            last epoch.
        keys: Names of the recalls to report.

    Raises:
        InputError: The run logged one of them in no epoch.
    """
    for key in (*keys, *([by] if by else [])):
        if key not in validations:
            logged = ', '.join(validations) or 'nothing, as it never came to a validation'
            raise InputError(f'{name}: {key!r} was never logged; choose among what was: {logged}')
    if by is None:
        epoch = max(max(validations[key]) for key in keys)
    else:
        epoch = max(sorted(validations[by]), key=validations[by].__getitem__)
    recalls = {key: validations[key][epoch] for key in keys if epoch in validations[key]}
    return Result(name, epoch, recalls)


def experiment_of(work_dir: Path) -> tuple[tuple[str, str], ...]:
    """Return the settings of a run without seed and folders.

    They are equal for runs of one experiment. The config is read as text: nothing in it is run.

    Raises:
        InputError: There is no config, or it holds more than settings.
    """
    # The config of a test is in a folder without scalars.
    path = log_folders(work_dir)[-1] / 'config.py'
    if not path.is_file():
        raise InputError(
            f'{path}: no such file; expected the config of the training, to find the runs that '
            'differ only in the seed. Put it there, or compare with --each'
        )
    text = read_text(path)
    try:
        lines = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError) as e:
        raise InputError(f'{path}: {e}; mend it, or compare with --each') from e
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
    """Group the results by experiment, in the order of the command line."""
    groups: dict[object, list[Result]] = {}
    for result, experiment in zip(results, experiments, strict=True):
        groups.setdefault(experiment, []).append(result)
    return [Row(group_label([r.name for r in group]), tuple(group)) for group in groups.values()]


def group_label(names: Sequence[str]) -> str:
    """Return one name for several runs: ``seed{0,1}`` for ``seed0`` and ``seed1``."""
    if len(names) == 1:
        return names[0]
    first, last = min(names), max(names)
    shared = [a for a, _ in takewhile(lambda x: x[0] == x[1], zip(first, last, strict=False))]
    # Do not split a number: seed{1,10}.
    common = ''.join(shared).rstrip('0123456789')
    return f'{common}{{{",".join(name.removeprefix(common) for name in names)}}}'


def table(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Return a table with a row for each experiment and a column for each recall."""
    body = []
    for row in rows:
        epochs = ','.join(str(result.epoch) for result in row.results)
        body.append([row.label, epochs, *(cell(row.values(key)) for key in keys)])
    alignment = ('left', 'right', *['right'] * len(keys))
    return tabulate(body, ['', 'epoch', *keys], colalign=alignment, disable_numparse=True)


def cell(values: Sequence[float]) -> str:
    """Return a value, or the mean ± the sample standard deviation of several."""
    if len(values) < 2:
        return ''.join(f'{x:.2f}' for x in values)
    return f'{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}'


def draw(rows: Sequence[Row], keys: Sequence[str]) -> Figure:
    """Draw a panel for each recall: a dot for each run, and mean and standard deviation."""
    columns = min(COLUMNS, len(keys))
    lines = math.ceil(len(keys) / columns)
    size = (3.3 * columns, (0.9 + 0.28 * len(rows)) * lines)
    figure = Figure(figsize=size, layout='constrained')
    panels = figure.subplots(lines, columns, squeeze=False)
    for place, panel in enumerate(panels.flat):
        if place >= len(keys):
            panel.remove()
            continue
        draw_panel(panel, rows, keys[place])
        shown = [row.label if place % columns == 0 else '' for row in rows]
        panel.set_yticks(range(len(rows)), shown)
    return figure


def draw_panel(panel: Axes, rows: Sequence[Row], key: str) -> None:
    """Draw one recall, the rows from top to bottom."""
    for place, row in enumerate(rows):
        values, color = row.values(key), COLORS[place % len(COLORS)]
        if len(values) > 1:
            style = dict(fmt='|', color=color, markersize=12, capsize=3)
            panel.errorbar(np.mean(values), place, xerr=np.std(values, ddof=1), **style)
        panel.plot(values, [place] * len(values), 'o', color=color, markersize=5, alpha=0.6, mew=0)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.margins(x=0.15)
    panel.grid(axis='y', visible=False)
    panel.set_title(f'{key} (%)')


def main(argv: list[str] | None = None) -> None:
    """Read the runs, print the table and draw the figure."""
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
