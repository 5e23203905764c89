"""Evaluating the entries of all rows, each once: what is finished is read from its folder."""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
from mmengine.config import Config

import reloclnet_mm
from reloclnet_mm.benchmarking.costs import describe_machine
from reloclnet_mm.benchmarking.entries import Entry
from reloclnet_mm.benchmarking.lists import Arrays, read_lists
from reloclnet_mm.benchmarking.worker import LISTS, Job, config_of, work
from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.fileio import write_json
from reloclnet_mm.utils.json_files import read_json
from reloclnet_mm.utils.progress import counted

_RECORD = 'row.json'
_FEATURES = {'.h5', '.hdf5', '.npy', '.npz', '.pt', '.pth', '.safetensors'}
_NO_MATTER = {'work_dir', 'load_from', 'resume', 'experiment_name', 'launcher', 'log_level'}


class Record(msgspec.Struct):
    """What is known of an evaluated entry beside its lists.

    Attributes:
        signature: What it depends on: see :func:`signature_of`.
        limits: Task to the number of answers that the model was asked for, where it tells.
        metrics: What the config's own evaluator reported.
        costs: See :func:`~reloclnet_mm.benchmarking.costs.measure_costs`; ``peak_memory_mb``,
            ``peak_gpu_memory_mb``.
        machine: See :func:`~reloclnet_mm.benchmarking.costs.describe_machine`.
    """

    signature: str
    limits: dict[str, int]
    metrics: dict[str, float | None]
    costs: dict[str, float]
    machine: dict[str, Any]


@dataclass(frozen=True)
class Evaluated:
    """An evaluated entry.

    Attributes:
        record: Numbers.
        folder: Folder of its files.
    """

    record: Record
    folder: Path

    def read_lists(self) -> Arrays:
        """Read its ranked lists, which are large; see :mod:`~reloclnet_mm.benchmarking.lists`."""
        return read_lists(self.folder / LISTS)


def signature_of(cfg: Config, entry: Entry, threads: int | None) -> str:
    """Compute the SHA-256 of what the numbers of an entry depend on.

    These are the settings of the config, the content of the checkpoint, the files that the test
    reads (annotation by content, features by size and time of change), the source of this package,
    and the machine: processor, device, number of threads and version of torch.
    """
    machine = describe_machine()
    settings = {name: x for name, x in cfg.to_dict().items() if name not in _NO_MATTER}
    return _digest(
        dict(
            settings=settings,
            checkpoint=_content(entry.checkpoint) if entry.checkpoint else None,
            files={str(path): _state(path) for path in files_of(cfg)},
            source=source_of(Path(reloclnet_mm.__file__).parent),
            machine=[machine[name] for name in ('cpu', 'device', 'torch')],
            threads=threads or machine['threads'],
        )
    )


@cache
def source_of(package: Path) -> str:
    """Compute the SHA-256 of the modules of a package, of their names and content."""
    modules = sorted(package.rglob('*.py'))
    return _digest({str(path.relative_to(package)): _content(path) for path in modules})


def files_of(cfg: Config) -> list[Path]:
    """List the files and folders that a config names for the model and the test, in order."""
    named = [cfg.get(x) for x in ('test_dataloader', 'test_corpus_dataloader', 'model')]
    return sorted({path for one in named for path in _paths(one, Path())})


def _paths(value: Any, root: Path) -> Iterator[Path]:
    if isinstance(value, str):
        for path in (root / value, Path(value)):
            # A text that is no path may be too long for one.
            with suppress(OSError, ValueError):
                if value and path.exists() and path.resolve() != Path.cwd():
                    yield path
    elif isinstance(value, Mapping):
        root = Path(value.get('data_root') or root)
        for name, inner in value.items():
            if name not in ('data_root', 'type'):
                yield from _paths(inner, root)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _paths(inner, root)


def _state(path: Path) -> Any:
    if path.is_dir():
        return [(x.name, *_size_and_time(x)) for x in sorted(path.iterdir())]
    return _size_and_time(path) if path.suffix in _FEATURES else _content(path)


def _size_and_time(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _content(path: Path) -> str:
    try:
        with path.open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror}); check the file') from error


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def evaluate_entries(
    entries: Sequence[Entry],
    folder: Path,
    *,
    queries: int,
    hours: float,
    threads: int | None = None,
) -> list[Evaluated]:
    """Evaluate entries one after another, those that are not finished yet.

    Args:
        entries: Models.
        folder: Folder of the rows; each has one of its own in it, named by its signature.
        queries: Number of queries that each answers, for the progress.
        hours: Hours of the corpus.
        threads: Number of torch's threads; None: torch's choice.

    Raises:
        InputError: A setting, a checkpoint or a file cannot be used.
        RuntimeError: An evaluation failed otherwise.
    """
    folders = {}
    for entry in entries:
        signature = signature_of(config_of(entry), entry, threads)
        name = re.sub(r'[^\w.-]+', '_', entry.path.stem)
        folders[entry] = folder / f'{name}-{signature[:16]}', signature
    waiting = [entry for entry in entries if not _is_finished(*folders[entry])]
    done = len(entries) - len(waiting)
    if done:
        print(f'{done} of {len(entries)} evaluations are finished already', flush=True)
    if waiting:
        with counted(len(waiting) * queries, 'queries') as advance:
            for entry in waiting:
                path, signature = folders[entry]
                record = _run(Job(entry, path, hours, threads), advance)
                write_json(path / _RECORD, dict(record, signature=signature), indent=1)
    return [_read(*folders[entry]) for entry in entries]


def _run(job: Job, advance: Any) -> dict[str, Any]:
    """Evaluate in a process of its own."""
    here, there = get_context('spawn').Pipe()
    process = get_context('spawn').Process(target=work, args=(job, there))
    process.start()
    there.close()
    try:
        while True:
            kind, content = here.recv()
            if kind == 'queries':
                advance(content)
            elif kind == 'record':
                return content
            elif kind == 'input error':
                raise InputError(content)
            else:
                raise RuntimeError(f'{job.entry}: {content}')
    except EOFError:
        process.join()
        raise RuntimeError(
            f'{job.entry}: its process ended with status {process.exitcode} and no message; the '
            'system may have stopped it for want of memory'
        ) from None
    finally:
        process.terminate()
        process.join()


def _is_finished(folder: Path, signature: str) -> bool:
    try:
        _read(folder, signature)
    except InputError:
        return False
    return zipfile.is_zipfile(folder / LISTS)


def _read(folder: Path, signature: str) -> Evaluated:
    record = read_json(folder / _RECORD, Record)
    if record.signature != signature:
        raise InputError(f'{folder}: is of other settings; remove it')
    return Evaluated(record, folder)
