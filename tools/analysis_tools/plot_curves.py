"""Draw training curves from the scalars that a training leaves in its work dir.

Losses go over iterations, recalls over epochs; each work dir is a line in every panel.
"""

import argparse
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.cli import input_errors_end_the_program

RECALLS = (
    'VR/R1',
    'SVMR/R1@0.5',
    'SVMR/R1@0.7',
    'VR/R10',
    'VCMR/R1@0.5',
    'VCMR/R1@0.7',
)
NOT_DRAWN = {'step', 'iter', 'epoch', 'time', 'data_time', 'memory'}
COLORS = ('#2166ac', '#d6604d', '#4d9221', '#8073ac', '#b8860b', '#35978f', '#c51b7d', '#5a5a5a')
COLUMNS = 3
TICKS = (1, 2, 5, 10)
STYLE = {
    'font.size': 9,
    'axes.titlesize': 10,
    'axes.titlelocation': 'left',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.edgecolor': '#808080',
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '#e4e4e4',
    'xtick.color': '#505050',
    'ytick.color': '#505050',
    'legend.frameon': False,
}

Series = dict[int, float]
"""Values by step: iterations for what training logs, epochs for what validation logs."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('--out', type=Path, default=Path('curves.png'), help='image to write')
    parser.add_argument(
        '--keys',
        nargs='+',
        help='what to draw, as logged: loss_span, VR/R1, VR/R5, …; else all losses, some recalls',
    )
    return parser.parse_args(argv)


def read_scalars(work_dir: Path) -> dict[str, dict[str, Series]]:
    """Everything logged in a work dir, its resumed trainings merged.

    A resumed training writes to a folder of its own and repeats what came after the checkpoint it
    started from: from its first step on, the later folder's values count.

    Args:
        work_dir: Folder of ``<timestamp>/vis_data/scalars.json`` files.

    Returns:
        ``train`` and ``val``: name to values by step.

    Raises:
        InputError: There is no such folder, nothing was logged, or a line cannot be read.
    """
    if not work_dir.is_dir():
        raise InputError(f'{work_dir}: no such folder; expected the work dir of a training')
    series: dict[str, dict[str, Series]] = {'train': {}, 'val': {}}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for phase, keys in by_phase(read_lines(path)).items():
            for key, values in keys.items():
                earlier = series[phase].get(key, {})
                kept = {step: x for step, x in earlier.items() if step < min(values)}
                series[phase][key] = kept | values
    if not any(series.values()):
        raise InputError(
            f'{work_dir}: nothing logged in */vis_data/scalars.json; expected the work dir of a '
            'training that reached its first log line'
        )
    return series


def by_phase(lines: Sequence[dict]) -> dict[str, dict[str, Series]]:
    """``train`` and ``val``: name to values by step, from logged lines."""
    series: dict[str, dict[str, Series]] = {'train': {}, 'val': {}}
    for line in lines:
        # only training logs the iteration in its epoch
        phase = series['train' if 'iter' in line else 'val']
        for key, value in line.items():
            if key not in NOT_DRAWN and isinstance(value, int | float):
                phase.setdefault(key, {})[line['step']] = value
    return series


def read_lines(path: Path) -> list[dict]:
    """The objects of a scalars.json file, one a line.

    Raises:
        InputError: A line is not one; a last line that a kill cut short is reported and left out.
    """
    lines = path.read_text(encoding='utf-8').split('\n')
    objects = []
    for number, text in enumerate(lines, 1):
        if not text:
            continue
        try:
            line = json.loads(text)
        except json.JSONDecodeError as e:
            if number == len(lines):
                print(f'{path}:{number}: the last line is cut short and left out')
                continue
            raise InputError(f'{path}:{number}: not JSON ({e}); mend or remove the line') from e
        if not isinstance(line, dict) or not isinstance(line.get('step'), int):
            raise InputError(
                f'{path}:{number}: found {text[:60]!r}, expected an object with a whole number '
                "'step'; mend or remove the line"
            )
        objects.append(line)
    return objects


def choose_keys(
    runs: Sequence[dict[str, dict[str, Series]]], asked: Sequence[str] | None
) -> dict[str, list[str]]:
    """Names to draw of each phase, in the order of drawing.

    Args:
        runs: Of :func:`read_scalars`.
        asked: What the user names; None: every loss, and the recalls of ``RECALLS``.

    Raises:
        InputError: A name that no run has, or nothing to draw.
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


def labels_of(work_dirs: Sequence[Path]) -> list[str]:
    """Folder names, or whole paths where two folders have the same name."""
    names = [path.resolve().name for path in work_dirs]
    return names if len(set(names)) == len(names) else [str(path) for path in work_dirs]


def draw(
    runs: Sequence[dict[str, dict[str, Series]]],
    labels: Sequence[str],
    keys: dict[str, list[str]],
) -> Figure:
    """A panel for each name, losses above recalls, a line for each run.

    Args:
        runs: Of :func:`read_scalars`.
        labels: Name of each run.
        keys: Of :func:`choose_keys`.
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
    """One name: a line for each run, with points where validations are few."""
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


def save(figure: Figure, out: Path) -> None:
    """Write an image in the format of its suffix, whole or not at all.

    Raises:
        InputError: The suffix names no image format.
    """
    formats = sorted(figure.canvas.get_supported_filetypes())
    if out.suffix[1:] not in formats:
        raise InputError(
            f'{out}: the suffix is {out.suffix!r}, expected one of {", ".join(formats)}; rename it'
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f'.{out.stem}.tmp{out.suffix}')
    figure.savefig(unfinished, dpi=100)
    os.replace(unfinished, out)


def main(argv: list[str] | None = None) -> None:
    """Read, draw and write."""
    args = parse_args(argv)
    with input_errors_end_the_program(), mpl.rc_context(STYLE):
        runs = [read_scalars(work_dir) for work_dir in args.work_dirs]
        save(draw(runs, labels_of(args.work_dirs), choose_keys(runs, args.keys)), args.out)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
