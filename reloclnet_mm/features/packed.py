"""Reading features from packed stores, which are faster than h5.

A store is a folder of three files:

- ``rows.npy``: the rows of all keys one after another, (R, channels) float16 or float32;
- ``offsets.npy``: (N + 1,) int64, key i has the rows from ``offsets[i]`` to ``offsets[i + 1]``;
- ``index.json``: format, version, dtype, channels, number of rows, the N names, CRC-32 checksums
  and the attributes of the file that was packed.

A checksum is that of an array's bytes without the header, or of ``json.dumps(names)``.
"""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.checks import DTYPES, check_shape
from reloclnet_mm.features.reading import (
    FeatureReader,
    Setting,
    no_such_features,
    no_such_key,
    settings_among,
)
from reloclnet_mm.utils.fileio import read_text

FORMAT, VERSION = 'reloclnet_mm packed features', 1
ROWS_FILE, OFFSETS_FILE, INDEX_FILE = 'rows.npy', 'offsets.npy', 'index.json'
OFFSET_DTYPE = np.dtype('<i8')
_AGAIN = 'pack the features again with tools/pack_features.py'
_CONVERTED_AT_ONCE = 1 << 14


class _Store(NamedTuple):
    """An opened store: its rows begin at byte ``start`` of ``file``."""

    file: BinaryIO
    start: int
    index: dict[str, Any]
    offsets: np.ndarray
    numbers: dict[str, int]


class PackedFeatures(FeatureReader[_Store]):
    """A packed store, read as all features are.

    Sizes, names and offsets are checked when it is opened; see
    :class:`~reloclnet_mm.features.reading.FeatureReader` for the arguments.
    """

    @property
    def attributes(self) -> dict[str, Setting]:
        """Return the attributes of the file that was packed."""
        return settings_among(self._open().index['attributes'])

    @property
    def dtype(self) -> np.dtype:
        """Return the type of the stored rows."""
        return DTYPES[self._open().index['dtype']]

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of rows of all keys, and their width."""
        index = self._open().index
        return index['num_rows'], index['channels']

    def keys(self) -> list[str]:
        """Return all keys, in the order of their rows."""
        return list(self._open().numbers)

    def num_rows(self, key: str) -> int:
        """Return the number of rows of a key; errors as of :meth:`read`."""
        first, end = self._bounds(key)
        return end - first

    def verify(self) -> None:
        """Read all rows and compare them with their checksum.

        Raises:
            InputError: The store is not as it was packed.
        """
        store = self._open()
        found = zlib.crc32(np.memmap(store.file, np.uint8, 'r', store.start))
        _check_sum(self.path / ROWS_FILE, 'rows', found, store.index)

    def _read(self, key: str, max_rows: int | None) -> np.ndarray:
        first, end = self._bounds(key)
        count = end - first if max_rows is None else min(end - first, max_rows)
        store, channels = self._open(), self.shape[1]
        begin = store.start + first * channels * self.dtype.itemsize
        # Only these rows are mapped, and only until they are copied: pages of a mapping of the
        # whole file would count as memory of this process for as long as it lives.
        rows = np.array(np.memmap(store.file, self.dtype, 'r', begin, (count, channels)))
        return rows if rows.dtype == np.float32 else _to_float32(rows)

    def _bounds(self, key: str) -> tuple[int, int]:
        store = self._open()
        if key not in store.numbers:
            raise no_such_key(self.path, key, store.numbers)
        number = store.numbers[key]
        first, end = store.offsets[number : number + 2].tolist()
        return first, end

    def _open_file(self) -> _Store:
        if not self.path.is_dir():
            raise no_such_features(self.path)
        index = _read_index(self.path / INDEX_FILE)
        shape = (index['num_rows'], index['channels'])
        check_shape(str(self.path), shape, self.channels)
        numbers = {name: i for i, name in enumerate(index['names'])}
        with _open_array(self.path / OFFSETS_FILE, OFFSET_DTYPE, (len(numbers) + 1,)) as file:
            offsets = np.fromfile(file, OFFSET_DTYPE)
        _check_offsets(self.path / OFFSETS_FILE, offsets, index)
        file = _open_array(self.path / ROWS_FILE, DTYPES[index['dtype']], shape)
        return _Store(file, file.tell(), index, offsets, numbers)

    def _close(self, opened: _Store) -> None:
        opened.file.close()


def _to_float32(rows: np.ndarray) -> np.ndarray:
    # torch converts three times as fast as NumPy. The blocks are smaller than what it gives to
    # several threads, which a forked process would wait for and not have.
    converted = np.empty(rows.shape, np.float32)
    blocks = (torch.from_numpy(x).view(-1).split(_CONVERTED_AT_ONCE) for x in (converted, rows))
    for target, source in zip(*blocks, strict=True):
        target.copy_(source)
    return converted


def _is_count(x: Any) -> bool:
    return type(x) is int and x > 0


def _are_names(x: Any) -> bool:
    return isinstance(x, list) and all(isinstance(n, str) for n in x) and 0 < len(set(x)) == len(x)


def _are_sums(x: Any) -> bool:
    return isinstance(x, dict) and all(type(x.get(y)) is int for y in ('rows', 'offsets', 'names'))


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    'format': (lambda x: x == FORMAT, repr(FORMAT)),
    'version': (lambda x: x == VERSION, f'{VERSION}, or the package version that wrote it'),
    'dtype': (lambda x: x in list(DTYPES), ' or '.join(DTYPES)),
    'channels': (_is_count, 'a whole number above 0'),
    'num_rows': (_is_count, 'a whole number above 0'),
    'names': (_are_names, 'a list of different texts'),
    'checksum': (_are_sums, 'the crc32 of rows, offsets and names'),
    'attributes': (lambda x: isinstance(x, dict), 'an object'),
}


def _read_index(path: Path) -> dict[str, Any]:
    _check_regular(path)
    text = read_text(path)
    try:
        index = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise InputError(f'{path}: not a JSON file ({e}); {_AGAIN}') from e
    if not isinstance(index, dict):
        raise InputError(f'{path}: found a {type(index).__name__}, expected an object; {_AGAIN}')
    index.setdefault('attributes', {})
    for field, (is_right, expected) in _FIELDS.items():
        if not is_right(index.get(field)):
            found = f'{index.get(field)!r:.200}'
            raise InputError(f'{path}: {field}: found {found}, expected {expected}; {_AGAIN}')
    _check_sum(path, 'names', zlib.crc32(json.dumps(index['names']).encode()), index)
    return index


def _check_regular(path: Path) -> None:
    """Refuse what is missing, and a pipe or device, which reading would wait for."""
    if not path.is_file():
        raise InputError(
            f'{path}: no such regular file, so the folder is not a packed feature store; '
            f'{_AGAIN}, or set feature_files of the data set to where they are'
        )


def _open_array(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> BinaryIO:
    """Open an .npy file at its first value; its header and size must be those expected."""
    _check_regular(path)
    try:
        file = path.open('rb')
        np.lib.format.read_magic(file)
        found = np.lib.format.read_array_header_1_0(file)
    except (OSError, ValueError, SyntaxError, TypeError, MemoryError, TokenError) as e:
        raise InputError(f'{path}: found no array saved by numpy.save ({e}); {_AGAIN}') from e
    size = path.stat().st_size - file.tell()
    expected = (shape, False, dtype), dtype.itemsize * int(np.prod(shape, dtype=object))
    if (found, size) == expected:
        return file
    file.close()
    raise InputError(
        f'{path}: found {size:,} bytes of shape {found[0]} and type {found[2].str!r}, expected '
        f'{expected[1]:,} of {shape} and {dtype.str!r} in C order, as {INDEX_FILE} says; {_AGAIN}'
    )


def _check_offsets(path: Path, offsets: np.ndarray, index: dict[str, Any]) -> None:
    if offsets[0] != 0 or offsets[-1] != index['num_rows'] or (np.diff(offsets) <= 0).any():
        raise InputError(
            f'{path}: found offsets from {offsets[0]} to {offsets[-1]}, expected them to grow at '
            f'each step from 0 to {index["num_rows"]}; {_AGAIN}'
        )
    _check_sum(path, 'offsets', zlib.crc32(offsets), index)


def _check_sum(path: Path, what: str, found: int, index: dict[str, Any]) -> None:
    expected = index['checksum'][what]
    if found != expected:
        raise InputError(
            f'{path}: found the checksum {found:08x} of the {what}, expected {expected:08x}: they '
            f'have changed since they were packed; {_AGAIN}'
        )
