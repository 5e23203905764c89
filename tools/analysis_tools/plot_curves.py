"""Draw the losses and recalls that trainings logged in their work dirs.

Losses are drawn by iteration, recalls by epoch, with a line for each work dir.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.run_logs import Series, labels_of, read_scalars
from reloclnet_mm.visualization.figures import COLORS, STYLE, save

RECALLS = ('VR/R1', 'SVMR/R1@0.5', 'SVMR/R1@0.7', 'VR/R10', 'VCMR/R1@0.5', 'VCMR/R1@0.7')
COLUMNS = 3
TICKS = (1, 2, 5, 10)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('--out', type=Path, default=Path('curves.png'), help='image to write')
    parser.add_argument(
        '--keys',
        nargs='+',
        help='names to draw, such as loss_span or VR/R5; default: all losses and some recalls',
    )
    return parser.parse_args(argv)


def choose_keys(
    runs: Sequence[dict[str, dict[str, Series]]], asked: Sequence[str] | None
) -> dict[str, list[str]]:
    """Return the names to draw for each phase, in the order of drawing.

    Args:
        runs: What :func:`read_scalars` returned for each.
        asked: Names from the user; None for every loss and the recalls of ``RECALLS``.

    Raises:
        InputError: No run logged a name, or there is nothing to draw.
    """
    logged = {
        phase: list(dict.fromkeys(key for run in runs for key in run[phase]))
        for phase in ('train', 'val')
    }
    if asked is None:
        asked = [k for k in logged['train'] if 'loss' in k]
        asked += [k for k in RECALLS if k in logged['val']]
    every = logged['train'] + logged['val']
    unknown = [key for key in asked if key not in every]
    if unknown or not asked:
        what = f'{unknown[0]!r} was never logged' if unknown else 'no loss and no recall was logged'
        raise InputError(f'{what}; choose with --keys among {", ".join(every)}')
    return {phase: [k for k in asked if k in keys] for phase, keys in logged.items()}


def draw(
    runs: Sequence[dict[str, dict[str, Series]]],
    labels: Sequence[str],
    keys: dict[str, list[str]],
) -> Figure:
    """Draw a panel for each name, losses above recalls, with a line for each run.

    Args:
        runs: What :func:`read_scalars` returned for each.
        labels: Name of each run.
        keys: What :func:`choose_keys` returned.
    """
    phases = [phase for phase in ('train', 'val') if keys[phase]]
    columns = min(COLUMNS, max(len(keys[phase]) for phase in phases))
    rows = {phase: math.ceil(len(keys[phase]) / columns) for phase in phases}
    figure = Figure(figsize=(3.3 * columns, 2.3 * sum(rows.values()) + 0.4), layout='constrained')
    panels = figure.subplots(sum(rows.values()), columns, squeeze=False)
    first = 0
    for phase in phases:
        free = list(panels[first : first + rows[phase]].flat)
        for panel, key in zip(free, keys[phase], strict=False):
            draw_panel(panel, [run[phase].get(key, {}) for run in runs], labels, phase, key)
        for panel in free[len(keys[phase]) :]:
            panel.remove()
        first += rows[phase]
    if len(runs) > 1:
        handles = panels[0, 0].get_lines()
        figure.legend(handles, labels, loc='outside upper center', ncols=min(len(labels), 4))
    return figure


def draw_panel(
    panel: Axes, lines: Sequence[Series], labels: Sequence[str], phase: str, key: str
) -> None:
    """Draw one name: a line for each run, with points if there are few epochs."""
    marker = 'o' if phase == 'val' and max(map(len, lines)) <= 30 else None
    for i, (values, label) in enumerate(zip(lines, labels, strict=True)):
        panel.plot(
            list(values),
            list(values.values()),
            color=COLORS[i % len(COLORS)],
            linestyle=('-', '--', ':')[i // len(COLORS) % 3],
            linewidth=1.5,
            marker=marker,
            markersize=3,
            label=label,
        )
    panel.set_title(f'{key} (%)' if '/R' in key else key)
    panel.set_xlabel('iteration' if phase == 'train' else 'epoch')
    panel.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=TICKS, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=TICKS))


def main(argv: list[str] | None = None) -> None:
    """Read the runs, draw and write the image."""
    args = parse_args(argv)
    with input_errors_end_the_program(), mpl.rc_context(STYLE):
        runs = [read_scalars(work_dir) for work_dir in args.work_dirs]
        save(draw(runs, labels_of(args.work_dirs), choose_keys(runs, args.keys)), args.out)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
