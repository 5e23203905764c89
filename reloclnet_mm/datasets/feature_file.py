"""Reading features from h5 files, one handle a process."""

import os
from pathlib import Path

import h5py
import numpy as np

from reloclnet_mm.errors import InputError


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
            InputError: The file or key is missing, or the array is empty, of another width, or
                holds NaN or infinity.
        """
        file = self._open()
        if key not in file:
            raise InputError(
                f'{self.path}: no features under the key {key!r} ({len(file)} keys, such as '
                f'{next(iter(file), None)!r}); extract them, or remove what names them from the '
                'annotation'
            )
        array = file[key]
        self._check_shape(key, getattr(array, 'shape', ()))
        rows = array[:max_rows].astype(np.float32, copy=False)
        self._check_finite(key, rows)
        return rows

    def close(self) -> None:
        """Close the handle; the next read opens it again."""
        if self._file is not None and self._owner == os.getpid():
            self._file.close()
        self._file = None

    def _open(self) -> h5py.File:
        # A handle that was opened before a fork must not be used after it.
        if self._file is None or self._owner != os.getpid():
            if not self.path.is_file():
                raise InputError(
                    f'{self.path}: no such file; expected features in h5 there. Put it in place, '
                    'or set data_root and feature_files of the data set to where it is'
                )
            try:
                self._file = h5py.File(self.path, 'r')
            except OSError as e:
                raise InputError(f'{self.path}: not an h5 file ({e}); fetch it again') from e
            self._owner = os.getpid()
        return self._file

    def _check_shape(self, key: str, shape: tuple[int, ...]) -> None:
        where = f'{self.path}: key {key!r}'
        if len(shape) != 2:
            raise InputError(
                f'{where}: found an array of shape {shape}, expected (rows, channels); '
                'extract it again'
            )
        if self.channels is not None and shape[1] != self.channels:
            raise InputError(
                f'{where}: found rows {shape[1]} wide, expected {self.channels}; set channels '
                "of the data set and the model's streams or query_channels to the width of your "
                'features'
            )
        if shape[0] == 0:
            raise InputError(
                f'{where}: found no rows, expected one a clip or token; extract it again'
            )

    def _check_finite(self, key: str, rows: np.ndarray) -> None:
        if not np.isfinite(rows).all():
            bad = int((~np.isfinite(rows).all(1)).argmax())
            raise InputError(
                f'{self.path}: key {key!r}: found NaN or infinity in row {bad}, expected '
                'finite numbers; extract it again'
            )

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_file': None, '_owner': None}

    def __del__(self) -> None:
        self.close()
