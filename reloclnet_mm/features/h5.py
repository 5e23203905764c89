"""Reading features from h5 files, one handle a process."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.h5_objects import check_content, find_object


class FeatureFile:
    """An h5 file with one array of rows a key.

    It is opened at the first read, again in every worker process, and never read whole.

    Args:
        path: The file.
        channels: Width that its rows must have; None: any.
    """

    def __init__(self, path: str | Path, channels: int | None = None) -> None:
        self.path = Path(path)
        self.channels = channels
        self._file: h5py.File | None = None
        self._owner: int | None = None

    def read(self, key: str, max_rows: int | None = None) -> np.ndarray:
        """The array of a key.

        Args:
            key: Video name or query id.
            max_rows: Read the first so many rows; None: all.

        Returns:
            (rows, channels) float32.

        Raises:
            InputError: The file or key is missing, or the array is empty, of another width, not
                of numbers, in another file, damaged, or holds NaN or infinity.
        """
        where = f'{self.path}: key {key!r}'
        array = self._array(key)
        try:
            rows = array[:max_rows]
        except OSError as e:
            raise InputError(
                f'{where}: cannot be read ({e}); the file is damaged, or compressed by a filter '
                'that is not installed: fetch it again, or have it written without the filter'
            ) from e
        rows = rows.astype(np.float32, copy=False)
        check_finite(where, rows)
        return rows

    def num_rows(self, key: str) -> int:
        """The number of rows of a key, which are not read.

        Raises:
            InputError: The file or key is missing, or the array is empty, of another width, not
                of numbers, or in another file.
        """
        return self._array(key).shape[0]

    def keys(self) -> list[str]:
        """All keys, in the file's order."""
        return list(self._open())

    def close(self) -> None:
        """Close the handle; the next read opens it again."""
        if self._file is not None and self._owner == os.getpid():
            self._file.close()
        self._file = None

    def _array(self, key: str) -> h5py.Dataset:
        file = self._open()
        array = find_object(file, key)
        if array is None:
            raise no_such_key(self.path, key, file)
        shape = getattr(array, 'shape', ())
        where = f'{self.path}: key {key!r}'
        check_shape(where, shape)
        check_width(where, shape[1], self.channels)
        check_content(where, array)
        return array

    def _open(self) -> h5py.File:
        # A handle that was opened before a fork must not be used after it.
        if self._file is None or self._owner != os.getpid():
            if not self.path.is_file():
                raise no_such_features(self.path)
            try:
                self._file = h5py.File(self.path, 'r')
            except OSError as e:
                raise InputError(f'{self.path}: not an h5 file ({e}); fetch it again') from e
            self._owner = os.getpid()
        return self._file

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_file': None, '_owner': None}

    def __del__(self) -> None:
        self.close()


def no_such_features(path: Path) -> InputError:
    """What to say where neither an h5 file nor a packed store is."""
    return InputError(
        f'{path}: no such file; expected features there, an h5 file or the folder of a packed '
        'store. Put it in place, or set data_root and feature_files of the data set to where it is'
    )


def no_such_key(path: Path, key: str, keys: Mapping[str, Any]) -> InputError:
    """What to say of a key that is not among those of a file."""
    return InputError(
        f'{path}: no features under the key {key!r} ({len(keys)} keys, such as '
        f'{next(iter(keys), None)!r}); extract them, or remove what names them from the annotation'
    )


def check_shape(where: str, shape: tuple[int, ...]) -> None:
    """Refuse what is not an array of one row or more.

    Args:
        where: File and key, for the message.
        shape: Of the array.

    Raises:
        InputError: It has not two axes, or no rows.
    """
    if len(shape) != 2:
        raise InputError(
            f'{where}: found an array of shape {shape}, expected (rows, channels); extract it again'
        )
    if shape[0] == 0:
        raise InputError(f'{where}: found no rows, expected one a clip or token; extract it again')


def check_width(where: str, width: int, channels: int | None) -> None:
    """Refuse rows of another width than the config's.

    Args:
        where: File, or file and key, for the message.
        width: Of the rows.
        channels: The width that they must have; None: any.

    Raises:
        InputError: It differs.
    """
    if channels is not None and width != channels:
        raise InputError(
            f'{where}: found rows {width} wide, expected {channels}; set channels of the data set '
            "and the model's streams or query_channels to the width of your features"
        )


def check_finite(where: str, rows: np.ndarray) -> None:
    """Refuse NaN and infinity.

    Args:
        where: File and key, for the message.
        rows: (rows, channels).

    Raises:
        InputError: There is some.
    """
    finite = np.isfinite(rows)
    if not finite.all():
        bad = int((~finite.all(1)).argmax())
        raise InputError(
            f'{where}: found NaN or infinity in row {bad}, expected finite numbers; '
            'extract it again'
        )
