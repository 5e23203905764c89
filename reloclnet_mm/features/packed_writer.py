"""Writing a packed store that a killed run never leaves half done."""

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.checks import DTYPES, to_dtype
from reloclnet_mm.features.packed import (
    FORMAT,
    INDEX_FILE,
    OFFSET_DTYPE,
    OFFSETS_FILE,
    ROWS_FILE,
    VERSION,
)
from reloclnet_mm.features.reading import Setting
from reloclnet_mm.utils.fileio import writing

_FILES = (INDEX_FILE, OFFSETS_FILE, ROWS_FILE)


@dataclass
class PackingSummary:
    """What the store's dtype has cost.

    Attributes:
        largest_value: Largest absolute value.
        largest_error: Largest absolute difference between a given and a packed value.
        error_at: Where that was: key and row; empty if nothing was rounded.
    """

    largest_value: float = 0.0
    largest_error: float = 0.0
    error_at: str = ''

    def add(self, key: str, rows: np.ndarray, packed: np.ndarray) -> None:
        """Compare the (rows, channels) of a key with what was packed."""
        self.largest_value = max(self.largest_value, float(np.abs(rows).max()))
        if rows.dtype != packed.dtype:
            errors = np.abs(rows - packed.astype(rows.dtype)).max(1)
            if errors.max() > self.largest_error:
                self.largest_error = float(errors.max())
                self.error_at = f'key {key!r}, row {errors.argmax()}'


def write_packed(
    path: str | Path,
    features: Iterable[tuple[str, np.ndarray]],
    dtype: str = 'float32',
    overwrite: bool = False,
    attributes: Mapping[str, Setting] | None = None,
) -> PackingSummary:
    """Pack features into a store, which appears when it is complete.

    It is written as ``<path>.partial``. A store to be replaced is there until the new one is
    complete, then ``<path>.replaced`` until the new one has taken its name.

    Args:
        path: The folder to write.
        features: Keys with their (rows, channels) arrays, used one at a time.
        dtype: ``float32`` or ``float16``.
        overwrite: Replace a store at ``path``, and what an interrupted run has left.
        attributes: Settings that the features were made with.

    Raises:
        InputError: ``path`` is in use or cannot be written, or features cannot be packed: none at
            all, a key twice, several widths, or what
            :func:`~reloclnet_mm.features.checks.to_dtype` refuses.
    """
    if dtype not in DTYPES:
        raise InputError(f'dtype {dtype!r}: expected {" or ".join(DTYPES)}; give one of them')
    path = Path(path)
    target = path.resolve() if path.is_symlink() else path
    partial, replaced = (target.with_name(f'{target.name}.{x}') for x in ('partial', 'replaced'))
    for folder in (target, partial, replaced):
        _check_free(folder, overwrite)
    with writing(path):
        _remove_store(partial)
        try:
            partial.mkdir(parents=True)
            summary = _write_files(partial, path, features, dtype, attributes or {})
            if target.exists():
                _remove_store(replaced)
                target.rename(replaced)
            partial.rename(target)
        except BaseException:
            _remove_store(partial)
            if replaced.exists() and not target.exists():
                replaced.rename(target)
            raise
        _remove_store(replaced)
    return summary


def _write_files(
    folder: Path,
    path: Path,
    features: Iterable[tuple[str, np.ndarray]],
    dtype: str,
    attributes: Mapping[str, Setting],
) -> PackingSummary:
    summary, ends, end, checksum = PackingSummary(), {}, 0, 0
    shape = {'descr': DTYPES[dtype].str, 'fortran_order': False}
    # A full disk is an error of write(); with a memory-mapped array it would kill the process.
    with (folder / ROWS_FILE).open('wb') as file:
        for key, rows in features:
            where, rows = f'{path}: key {key!r}', np.asarray(rows)
            if key in ends:
                raise InputError(f'{where}: found it twice, expected it once; remove or rename one')
            packed = to_dtype(where, rows, dtype)
            if not ends:
                channels = packed.shape[1]
                np.lib.format.write_array_header_1_0(file, shape | {'shape': (0, channels)})
            if packed.shape[1] != channels:
                raise InputError(
                    f'{where}: found rows {packed.shape[1]} wide, expected {channels} as under '
                    'the keys before it, for a store has one width; extract it again'
                )
            summary.add(key, rows, packed)
            ends[key] = end = end + len(packed)
            checksum = zlib.crc32(packed, checksum)
            file.write(packed)
        if not ends:
            raise InputError(
                f'{path}: found no keys to pack, expected one or more; check the source'
            )
        # NumPy leaves room in a header for more rows.
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, shape | {'shape': (end, channels)})
    names, offsets = list(ends), np.array([0, *ends.values()], OFFSET_DTYPE)
    np.save(folder / OFFSETS_FILE, offsets)
    sums = {
        'rows': checksum,
        'offsets': zlib.crc32(offsets),
        'names': zlib.crc32(json.dumps(names).encode()),
    }
    index: dict[str, Any] = {
        'format': FORMAT,
        'version': VERSION,
        'dtype': dtype,
        'channels': channels,
        'num_keys': len(names),
        'num_rows': end,
        'attributes': dict(attributes),
        'checksum': {'algorithm': 'crc32', **sums},
        'names': names,
    }
    (folder / INDEX_FILE).write_text(json.dumps(index), encoding='utf-8')
    for file in folder.iterdir():
        with file.open('rb') as written:
            os.fsync(written.fileno())
    return summary


def _check_free(folder: Path, overwrite: bool) -> None:
    """Refuse to write where something is that must not or cannot be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir() or not {x.name for x in folder.iterdir()} <= set(_FILES):
        raise InputError(
            f'{folder}: found something other than a packed store, which is never replaced; give '
            'another name'
        )
    if not overwrite:
        raise InputError(
            f'{folder}: already there, or left by an interrupted run; give another name, remove '
            'it, or use --overwrite'
        )


def _remove_store(folder: Path) -> None:
    """Remove a folder with the files of a store, if there is one."""
    if folder.exists():
        # Without its index it is no store any more, whatever happens.
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
