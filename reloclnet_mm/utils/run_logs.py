"""What trainings leave in their work dirs."""

import json
from collections.abc import Sequence
from pathlib import Path

from reloclnet_mm.errors import InputError

_SCALARS = 'scalars.json'
_NO_VALUES = {'step', 'iter', 'epoch', 'time', 'data_time', 'memory'}

Series = dict[int, float]
"""Values by step: iterations for what training logs, epochs for what validation logs."""


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
    for folder in log_folders(work_dir):
        for phase, keys in by_phase(read_lines(folder / _SCALARS)).items():
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


def log_folders(work_dir: Path) -> list[Path]:
    """The ``vis_data`` folders with logged scalars, oldest first; resuming makes a new one."""
    return [path.parent for path in sorted(work_dir.glob(f'*/vis_data/{_SCALARS}'))]


def by_phase(lines: Sequence[dict]) -> dict[str, dict[str, Series]]:
    """``train`` and ``val``: name to values by step, from logged lines."""
    series: dict[str, dict[str, Series]] = {'train': {}, 'val': {}}
    for line in lines:
        # only training logs the iteration in its epoch
        phase = series['train' if 'iter' in line else 'val']
        for key, value in line.items():
            if key not in _NO_VALUES and isinstance(value, int | float):
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


def labels_of(work_dirs: Sequence[Path]) -> list[str]:
    """Folder names, or whole paths where two folders have the same name."""
    names = [path.resolve().name for path in work_dirs]
    return names if len(set(names)) == len(names) else [str(path) for path in work_dirs]
