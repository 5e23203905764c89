"""What is compared: models and prediction files as the command line names them."""

import glob
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reloclnet_mm.errors import InputError

_NAMED = re.compile(r'(?P<name>[^=:/\\]+)=(?P<spec>.+)')
_OPTIONS = ' --cfg-options '


@dataclass(frozen=True)
class Entry:
    """One model with its weights, or one file of predictions.

    Attributes:
        path: Config, or JSON file of predictions.
        checkpoint: Weights of the model; None: as training begins, or as the model needs none.
        options: Settings that override the config, each ``key=value``.
    """

    path: Path
    checkpoint: Path | None = None
    options: tuple[str, ...] = ()

    @property
    def is_config(self) -> bool:
        """Whether it is a model, not a file of predictions."""
        return self.path.suffix == '.py'

    def __str__(self) -> str:
        shown = f'{self.path}:{self.checkpoint}' if self.checkpoint else f'{self.path}'
        return f'{shown}{_OPTIONS}{shlex.join(self.options)}' if self.options else shown


@dataclass(frozen=True)
class Row:
    """What one row of the table shows.

    Attributes:
        name: Name to show.
        entries: One, or the seeds of one experiment.
    """

    name: str
    entries: tuple[Entry, ...]


def parse_rows(specs: Sequence[str]) -> list[Row]:
    """Read what the command line names.

    Args:
        specs: Each ``[NAME=]CONFIG.py``, ``[NAME=]CONFIG.py:CHECKPOINT``, where the checkpoint may
            be a pattern such as ``seed_*/epoch_4.pth`` whose files are the seeds of one row, or
            ``[NAME=]PREDICTIONS.json``. A config may be followed by `` --cfg-options KEY=VALUE …``.

    Raises:
        InputError: A file is absent, a pattern matches none or two of one folder, an option is no
            ``key=value``, or two rows have the same name.
    """
    names, groups = [], []
    for spec in specs:
        files, _, settings = spec.partition(_OPTIONS)
        named = _NAMED.fullmatch(files)
        names.append(named['name'] if named else None)
        groups.append(_entries(named['spec'] if named else files, _options(spec, settings)))
    rows = [Row(name, group) for name, group in zip(_names(names, groups), groups, strict=True)]
    twice = [name for name, count in Counter(row.name for row in rows).items() if count > 1]
    if twice:
        first, second, *_ = (row.entries[0] for row in rows if row.name == twice[0])
        raise InputError(
            f'{twice[0]!r} is the name of two rows; name them apart: NAME={first} NAME2={second}'
        )
    return rows


def _options(spec: str, settings: str) -> tuple[str, ...]:
    """Split what follows ``--cfg-options`` as a shell does."""
    options = tuple(shlex.split(settings))
    wrong = [option for option in options if not re.fullmatch(r'[^=]+=.+', option)]
    if wrong:
        raise InputError(
            f'{spec}: found {wrong[0]!r} after --cfg-options, expected key=value; put the whole '
            'row in quotes'
        )
    return options


def _entries(spec: str, options: tuple[str, ...]) -> tuple[Entry, ...]:
    before, colon, checkpoint = spec.partition('.py:')
    path = Path(before + '.py' if colon else spec)
    if path.suffix not in ('.py', '.json') or (colon and not checkpoint):
        raise InputError(
            f'{spec}: expected CONFIG.py:CHECKPOINT, CONFIG.py for a model without weights, or '
            'PREDICTIONS.json'
        )
    if not path.is_file():
        raise InputError(f'{path}: no such file; check the path of the config or predictions')
    if options and path.suffix != '.py':
        raise InputError(f'{spec}: has --cfg-options and is no config; leave them out')
    if not colon:
        return (Entry(path, options=options),)
    if Path(checkpoint).is_file():
        return (Entry(path, Path(checkpoint), options),)
    found = sorted(glob.glob(checkpoint))
    if not found:
        raise InputError(
            f'{checkpoint}: no such file, and as a pattern it matches none; check the path of the '
            'checkpoint, and download one that has an address'
        )
    _check_runs(checkpoint, found)
    return tuple(Entry(path, Path(name), options) for name in found)


def _check_runs(pattern: str, found: Sequence[str]) -> None:
    """Check that no two checkpoints are of one run: seeds are trainings, not epochs of one."""
    runs: dict[Path, str] = {}
    for name in found:
        other = runs.setdefault(Path(name).parent, name)
        if other != name:
            raise InputError(
                f'{pattern}: matches {other} and {name}, two checkpoints of one folder, and seeds '
                'are trainings of their own; give a pattern that matches one checkpoint of each '
                'folder'
            )


def _names(given: Sequence[str | None], groups: Sequence[tuple[Entry, ...]]) -> list[str]:
    """Name the rows by their files, as shortly as tells them apart."""
    stems = [name or group[0].path.stem for name, group in zip(given, groups, strict=True)]
    counts = Counter(stems)
    return [
        stem if name or counts[stem] == 1 else f'{stem} ({_weights(group)})'
        for name, stem, group in zip(given, stems, groups, strict=True)
    ]


def _weights(group: tuple[Entry, ...]) -> str:
    checkpoint = group[0].checkpoint
    if checkpoint is None:
        return f'{group[0].path.parent}'
    return '/'.join(checkpoint.parts[-2:])
