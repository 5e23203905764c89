"""Features packed into one memory-mapped array, beside h5.

A store is a folder of three files:

- ``rows.npy``: the rows of all keys one after another, (R, channels) float16 or float32;
- ``offsets.npy``: (N + 1,) int64, key i has the rows from ``offsets[i]`` to ``offsets[i + 1]``;
- ``index.json``: format, version, dtype, sizes, CRC-32 checksums and the N names.

The arrays begin with the header that ``numpy.save`` writes. A checksum is that of an array's bytes
without the header, or of ``json.dumps(names)``.
"""

import json
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.h5 import (
    FeatureFile,
    check_width,
    no_such_features,
    no_such_key,
)
from reloclnet_mm.utils.json_files import read_json

FORMAT = 'reloclnet_mm packed features'
VERSION = 1
ROWS_FILE, OFFSETS_FILE, INDEX_FILE = 'rows.npy', 'offsets.npy', 'index.json'
DTYPES = {'float32': np.dtype('<f4'), 'float16': np.dtype('<f2')}
OFFSET_DTYPE = np.dtype('<i8')
HEADER_BYTES = 128
AGAIN = 'pack the features again with tools/pack_features.py'
CHECKED = ('rows', 'offsets', 'names')
_CHECKED_AT_ONCE = 1 << 22
_CONVERTED_AT_ONCE = 1 << 14


def open_features(path: str | Path, channels: int | None = None) -> 'FeatureFile | PackedFeatures':
    """The reader for what stands at a path: a folder is a packed store, all else h5.

    Args:
        path: The h5 file or the store.
        channels: Width that the rows must have; None: any.
    """
    reader = PackedFeatures if Path(path).is_dir() else FeatureFile
    return reader(path, channels)


class PackedFeatures:
    """A packed store, read as :class:`~reloclnet_mm.features.h5.FeatureFile` reads h5.

    It is opened at the first use. Sizes, names and offsets are checked then; the rows, which were
    finite when they were packed, are not (:func:`verify_packed` does).

    Args:
        path: The folder.
        channels: Width that its rows must have; None: any.
    """

    def __init__(self, path: str | Path, channels: int | None = None) -> None:
        self.path = Path(path)
        self.channels = channels
        self._store: _Store | None = None

    @property
    def rows(self) -> np.memmap:
        """(R, channels) float16 or float32: the rows of all keys, read-only."""
        store = self._open()
        return np.memmap(store.file, store.index.dtype, 'r', HEADER_BYTES, store.index.rows_shape)

    @property
    def offsets(self) -> np.ndarray:
        """(N + 1,) int64: where the rows of each key begin, and where the last ends."""
        return self._open().offsets

    def index_of(self, key: str) -> int:
        """The position of a key among :meth:`keys`.

        Raises:
            InputError: The store or key is missing, or the store cannot be used.
        """
        positions = self._open().positions
        if key not in positions:
            raise no_such_key(self.path, key, positions)
        return positions[key]

    def num_rows(self, key: str) -> int:
        """The number of rows of a key.

        Raises:
            InputError: The store or key is missing, or the store cannot be used.
        """
        start, end = self._bounds(key)
        return end - start

    def read(self, key: str, max_rows: int | None = None) -> np.ndarray:
        """The array of a key, a new one at each call.

        Args:
            key: Video name or query id.
            max_rows: Read the first so many rows; None: all.

        Returns:
            (rows, channels) float32.

        Raises:
            InputError: The store or key is missing, or the store cannot be used.
        """
        start, end = self._bounds(key)
        count = end - start if max_rows is None else min(end - start, max_rows)
        file, index = self._store.file, self._store.index
        # Only these rows are mapped, and only until they are copied: pages of a mapping of the
        # whole file would count as memory of this process for as long as it lives.
        begin = HEADER_BYTES + start * index.channels * index.dtype.itemsize
        return _to_float32(np.memmap(file, index.dtype, 'r', begin, (count, index.channels)))

    def keys(self) -> list[str]:
        """All keys, in the order of their rows."""
        return list(self._open().positions)

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        if self._store is not None:
            self._store.file.close()
        self._store = None

    def _open(self) -> '_Store':
        # Unlike an h5 handle, it may be used after a fork: a mapping has no position in the file.
        if self._store is None:
            self._store = _open_store(self.path, self.channels)
        return self._store

    def _bounds(self, key: str) -> tuple[int, int]:
        index = self.index_of(key)
        start, end = self.offsets[index : index + 2].tolist()
        return start, end

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_store': None}

    def __del__(self) -> None:
        self.close()


def _to_float32(rows: np.ndarray) -> np.ndarray:
    """A copy of (rows, channels) float16 or float32 as float32."""
    copy = np.array(rows)
    if copy.dtype == np.float32:
        return copy
    # torch converts several times as fast as NumPy. The blocks stay below the size from which it
    # uses threads: those of a process hang in its forks.
    converted = np.empty(copy.shape, np.float32)
    blocks = (torch.from_numpy(x).view(-1).split(_CONVERTED_AT_ONCE) for x in (converted, copy))
    for target, source in zip(*blocks, strict=True):
        target.copy_(source)
    return converted


@dataclass(frozen=True)
class _Index:
    dtype: np.dtype
    channels: int
    num_rows: int
    checksum: dict[str, Any]
    names: list[str]

    @property
    def rows_shape(self) -> tuple[int, int]:
        return self.num_rows, self.channels

    @property
    def offsets_shape(self) -> tuple[int]:
        return (len(self.names) + 1,)


@dataclass(frozen=True)
class _Store:
    file: BinaryIO
    index: _Index
    offsets: np.ndarray
    positions: dict[str, int]


def _open_store(folder: Path, channels: int | None) -> _Store:
    if not folder.is_dir():
        raise no_such_features(folder)
    index = _read_index(folder)
    check_width(str(folder), index.channels, channels)
    with _open_array(folder / OFFSETS_FILE, OFFSET_DTYPE, index.offsets_shape) as file:
        offsets = np.fromfile(file, OFFSET_DTYPE)
    _check_offsets(folder / OFFSETS_FILE, offsets, index)
    file = _open_array(folder / ROWS_FILE, index.dtype, index.rows_shape)
    return _Store(file, index, offsets, {name: i for i, name in enumerate(index.names)})


def _read_index(folder: Path) -> _Index:
    path = folder / INDEX_FILE
    if not path.is_file():
        raise InputError(
            f'{folder}: not a packed feature store: found no {INDEX_FILE} in the folder; {AGAIN}, '
            'or set feature_files of the data set to where they are'
        )
    index = read_json(path)
    if not isinstance(index, dict) or index.get('format') != FORMAT:
        raise InputError(f'{path}: found no "format": "{FORMAT}", expected it; {AGAIN}')
    if index.get('version') != VERSION:
        raise InputError(
            f'{path}: found version {index.get("version")!r} of the format, expected {VERSION}; '
            f'{AGAIN}, or use the version of this package that wrote it'
        )
    _check_fields(path, index)
    names, checksum = index['names'], index['checksum']
    _check_sum(path, 'the names', zlib.crc32(name_bytes(names)), checksum['names'])
    return _Index(DTYPES[index['dtype']], index['channels'], index['num_rows'], checksum, names)


def _check_fields(path: Path, index: dict[str, Any]) -> None:
    """Refuse an index of which a field is missing or of another kind."""
    names, checksum = index.get('names'), index.get('checksum')
    if index.get('dtype') not in list(DTYPES):
        raise _wrong_field(path, 'dtype', index.get('dtype'), ' or '.join(DTYPES))
    for field in ('channels', 'num_keys', 'num_rows'):
        if not isinstance(index.get(field), int) or index[field] < 1:
            raise _wrong_field(path, field, index.get(field), 'a whole number above 0')
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _wrong_field(path, 'names', type(names).__name__, 'a list of texts')
    if len(names) != index['num_keys'] or len(set(names)) != len(names):
        found = f'{len(names)} of which {len(set(names))} differ'
        raise _wrong_field(path, 'names', found, f'{index["num_keys"]}, no name twice')
    sums = [checksum.get(part) for part in CHECKED] if isinstance(checksum, dict) else [None]
    if not all(isinstance(x, int) for x in sums) or checksum.get('algorithm') != 'crc32':
        raise _wrong_field(path, 'checksum', checksum, f'the crc32 of {", ".join(CHECKED)}')


def _wrong_field(path: Path, field: str, found: Any, expected: str) -> InputError:
    return InputError(f'{path}: {field}: found {found!r}, expected {expected}; {AGAIN}')


def _open_array(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> BinaryIO:
    """An array file, at the first byte of the array.

    The header must be the one expected, byte for byte: nothing in the file is interpreted.
    """
    try:
        file = path.open('rb')
    except OSError as e:
        raise InputError(f'{path}: cannot be opened ({e.strerror}); {AGAIN}') from e
    header, expected = file.read(HEADER_BYTES), array_header(dtype, shape)
    size, expected_size = (
        os.fstat(file.fileno()).st_size,
        HEADER_BYTES + math.prod(shape) * dtype.itemsize,
    )
    if header == expected and size == expected_size:
        return file
    file.close()
    if header != expected:
        raise InputError(
            f'{path}: found the header {_readable(header)}, expected {_readable(expected)} '
            f'as {INDEX_FILE} says; {AGAIN}'
        )
    raise InputError(f'{path}: found {size:,} bytes, expected {expected_size:,}; {AGAIN}')


def array_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file, equally long for all shapes, so that it can be written last."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    start = np.lib.format.magic(1, 0)
    length = HEADER_BYTES - len(start) - 2
    return start + struct.pack('<H', length) + text.encode().ljust(length - 1) + b'\n'


def _readable(header: bytes) -> str:
    return repr(header[10:].decode('latin1').strip())


def _check_offsets(path: Path, offsets: np.ndarray, index: _Index) -> None:
    if offsets[0] != 0 or offsets[-1] != index.num_rows or (np.diff(offsets) <= 0).any():
        raise InputError(
            f'{path}: found offsets from {offsets[0]} to {offsets[-1]}, expected them to grow at '
            f'each step from 0 to {index.num_rows}; {AGAIN}'
        )
    _check_sum(path, 'the offsets', zlib.crc32(offsets), index.checksum['offsets'])


def _check_sum(path: Path, what: str, found: int, expected: int) -> None:
    if found != expected:
        raise InputError(
            f'{path}: found the checksum {found:08x} of {what}, expected {expected:08x}: they have '
            f'changed since they were packed; {AGAIN}'
        )


def name_bytes(names: list[str]) -> bytes:
    """What the checksum of the names is made of."""
    return json.dumps(names).encode()


def verify_packed(path: str | Path) -> None:
    """Read a whole store and compare it with its checksums.

    Raises:
        InputError: There is no store, or it is not as it was packed.
    """
    store = _open_store(Path(path), None)
    found = 0
    with store.file as file:
        while chunk := file.read(_CHECKED_AT_ONCE):
            found = zlib.crc32(chunk, found)
    _check_sum(Path(path) / ROWS_FILE, 'the rows', found, store.index.checksum['rows'])
