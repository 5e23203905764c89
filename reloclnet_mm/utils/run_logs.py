"""Reading the scalars that trainings log in their work dirs."""

import json
from collections.abc import Sequence
from pathlib import Path

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.fileio import read_text

_SCALARS = 'scalars.json'
_NO_VALUES = {'step', 'iter', 'epoch', 'time', 'data_time', 'memory'}

Series = dict[int, float]
"""Values by iteration for what training logs, by epoch for what validation logs."""


def read_scalars(work_dir: Path) -> dict[str, dict[str, Series]]:
    """Read all scalars of a work dir and merge those of resumed trainings.

    A resumed training logs into a new folder and repeats the steps after its checkpoint. From its
    first step on, its values replace the earlier ones.

    Args:
        work_dir: Folder with ``<timestamp>/vis_data/scalars.json`` files.

    Returns:
        For ``train`` and ``val`` the values by name and step.

    Raises:
        InputError: The folder does not exist, nothing was logged, or a line cannot be read.
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
    """Return the ``vis_data`` folders that hold scalars, oldest first."""
    return [path.parent for path in sorted(work_dir.glob(f'*/vis_data/{_SCALARS}'))]


def by_phase(lines: Sequence[dict]) -> dict[str, dict[str, Series]]:
    """Sort logged lines into values by phase, name and step."""
    series: dict[str, dict[str, Series]] = {'train': {}, 'val': {}}
    for line in lines:
        # Only training logs `iter`.
        phase = series['train' if 'iter' in line else 'val']
        for key, value in line.items():
            if key not in _NO_VALUES and isinstance(value, int | float):
                phase.setdefault(key, {})[line['step']] = value
    return series


def read_lines(path: Path) -> list[dict]:
    """Read the objects of a scalars.json file, one on each line.

    A last line that a kill cut short is reported and left out.

    Raises:
        InputError: Another line is no such object.
    """
    lines = read_text(path).split('\n')
    objects = []
    for number, text in enumerate(lines, 1):
        if not text:
            continue
        try:
            line = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as e:
            if number == len(lines):
                print(f'{path}:{number}: the last line is cut short and is left out')
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
    """Return the names of the folders, or their paths if two have the same name."""
    names = [path.resolve().name for path in work_dirs]
    return names if len(set(names)) == len(names) else [str(path) for path in work_dirs]
