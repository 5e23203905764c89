"""Writing a packed store that a killed run never leaves half done."""

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.h5 import check_finite, check_shape
from reloclnet_mm.features.packed import (
    DTYPES,
    FORMAT,
    HEADER_BYTES,
    INDEX_FILE,
    OFFSET_DTYPE,
    OFFSETS_FILE,
    ROWS_FILE,
    VERSION,
    array_header,
    name_bytes,
)


@dataclass
class PackingSummary:
    """What was packed.

    Attributes:
        num_keys: Number of keys.
        num_rows: Number of rows of all keys.
        channels: Width of the rows.
        dtype: ``float32`` or ``float16``.
        largest_value: Largest absolute value.
        largest_error: Largest absolute difference between a given and a packed value.
        error_at: Where that was: key and row; empty if nothing was rounded.
    """

    num_keys: int = 0
    num_rows: int = 0
    channels: int = 0
    dtype: str = 'float32'
    largest_value: float = 0.0
    largest_error: float = 0.0
    error_at: str = ''


def write_packed(
    path: str | Path,
    features: Iterable[tuple[str, np.ndarray]],
    dtype: str = 'float32',
    overwrite: bool = False,
) -> PackingSummary:
    """Pack features into a store, which appears when it is complete.

    They are written one key after another into the folder ``<path>.partial``, which then takes its
    name.

    Args:
        path: The folder to write.
        features: Keys with their (rows, channels) arrays, used one at a time.
        dtype: ``float32`` or ``float16``.
        overwrite: Replace a store at ``path``, and what an interrupted run has left.

    Raises:
        InputError: ``path`` is in use or cannot be written, or features cannot be packed: none at
            all, a key twice, no rows, several widths, NaN, infinity or a number beyond the dtype.
    """
    if dtype not in DTYPES:
        raise InputError(f'dtype {dtype!r}: expected {" or ".join(DTYPES)}; give one of them')
    path = Path(path)
    target = path.resolve() if path.is_symlink() else path
    partial = target.with_name(f'{target.name}.partial')
    _check_free(target, 'already there', overwrite)
    _check_free(partial, 'left by an interrupted run or used by one that goes on', overwrite)
    with _write_errors(path):
        _remove_store(partial)
        partial.mkdir(parents=True)
    try:
        with _RowsWriter(partial, path, dtype) as writer:
            for key, rows in features:
                writer.add(key, rows)
            writer.finish()
    except BaseException:
        _remove_store(partial)
        raise
    with _write_errors(path):
        _remove_store(target)
        os.rename(partial, target)
    return writer.summary


class _RowsWriter:
    """Writes the files of a store into a folder.

    Args:
        folder: Where to.
        path: Name of the store, for messages.
        dtype: ``float32`` or ``float16``.
    """

    def __init__(self, folder: Path, path: Path, dtype: str) -> None:
        self.folder = folder
        self.path = path
        self.summary = PackingSummary(dtype=dtype)
        self._dtype = DTYPES[dtype]
        self._offsets: dict[str, int] = {}
        self._checksum = 0
        with _write_errors(path):
            self._file = (folder / ROWS_FILE).open('wb')
            # finish() writes it, when the number of rows is known
            self._file.seek(HEADER_BYTES)

    def add(self, key: str, rows: np.ndarray) -> None:
        """Append the rows of a key."""
        rows = np.asarray(rows)
        self._check(key, rows.shape)
        packed = self._convert(key, rows)
        self._offsets[key] = self.summary.num_rows
        self.summary.num_keys += 1
        self.summary.num_rows += len(packed)
        self._checksum = zlib.crc32(packed, self._checksum)
        with _write_errors(self.path):
            self._file.write(packed)

    def finish(self) -> None:
        """Complete the files and bring them to the disk."""
        summary = self.summary
        if not self._offsets:
            raise InputError(
                f'{self.path}: found no keys to pack, expected one or more; check the source'
            )
        offsets = np.array([*self._offsets.values(), summary.num_rows], OFFSET_DTYPE)
        with _write_errors(self.path):
            self._file.seek(0)
            self._file.write(array_header(self._dtype, (summary.num_rows, summary.channels)))
            _flush(self._file)
            header = array_header(OFFSET_DTYPE, offsets.shape)
            _write(self.folder / OFFSETS_FILE, header + offsets.tobytes())
            _write(self.folder / INDEX_FILE, json.dumps(self._index(offsets)).encode())

    def _index(self, offsets: np.ndarray) -> dict[str, Any]:
        names = list(self._offsets)
        return {
            'format': FORMAT,
            'version': VERSION,
            'dtype': self.summary.dtype,
            'channels': self.summary.channels,
            'num_keys': self.summary.num_keys,
            'num_rows': self.summary.num_rows,
            'checksum': {
                'algorithm': 'crc32',
                'rows': self._checksum,
                'offsets': zlib.crc32(offsets),
                'names': zlib.crc32(name_bytes(names)),
            },
            'names': names,
        }

    def _check(self, key: str, shape: tuple[int, ...]) -> None:
        where = f'{self.path}: key {key!r}'
        if key in self._offsets:
            raise InputError(f'{where}: found it twice, expected it once; remove or rename one')
        check_shape(where, shape)
        if not self._offsets:
            self.summary.channels = shape[1]
        if shape[1] != self.summary.channels:
            raise InputError(
                f'{where}: found rows {shape[1]} wide, expected {self.summary.channels} as under '
                'the keys before it, for a store has one width; extract it again'
            )

    def _convert(self, key: str, rows: np.ndarray) -> np.ndarray:
        where = f'{self.path}: key {key!r}'
        with np.errstate(over='ignore'):
            packed = np.ascontiguousarray(rows, self._dtype)
        finite = np.isfinite(packed)
        if not finite.all():
            check_finite(where, rows)
            bad = int((~finite.all(1)).argmax())
            raise InputError(
                f'{where}: found {np.abs(rows[bad]).max():g} in row {bad}, expected at most '
                f'{np.finfo(self._dtype).max:g} in {self.summary.dtype}; use a wider dtype or '
                'extract it again'
            )
        self._note_rounding(key, rows, packed)
        return packed

    def _note_rounding(self, key: str, rows: np.ndarray, packed: np.ndarray) -> None:
        summary = self.summary
        summary.largest_value = max(summary.largest_value, float(np.abs(rows).max()))
        if rows.dtype == packed.dtype:
            return
        errors = np.abs(rows - packed.astype(rows.dtype)).max(1)
        if errors.max() > summary.largest_error:
            summary.largest_error = float(errors.max())
            summary.error_at = f'key {key!r}, row {errors.argmax()}'

    def __enter__(self) -> '_RowsWriter':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def _check_free(folder: Path, why: str, overwrite: bool) -> None:
    """Refuse to write where something is that must not or cannot be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f'{folder}: found a file, expected nothing there; give another name')
    strange = sorted({p.name for p in folder.iterdir()} - {ROWS_FILE, OFFSETS_FILE, INDEX_FILE})
    if strange:
        raise InputError(
            f'{folder}: found {strange[0]!r} in the folder, which is no packed store to replace; '
            'give another name'
        )
    if not overwrite:
        raise InputError(
            f'{folder}: {why}, expected nothing there; give another name, remove it, or use '
            '--overwrite'
        )


def _remove_store(folder: Path) -> None:
    """Remove a folder with the files of a store, if there is one; it ends to be a store first."""
    for name in (INDEX_FILE, OFFSETS_FILE, ROWS_FILE):
        (folder / name).unlink(missing_ok=True)
    if folder.exists():
        folder.rmdir()


def _write(path: Path, data: bytes) -> None:
    with path.open('wb') as file:
        file.write(data)
        _flush(file)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn what the file system says into an InputError."""
    try:
        yield
    except OSError as e:
        raise InputError(
            f'{path}: cannot be written ({e.strerror}); check the space on the disk and the '
            'permissions'
        ) from e
