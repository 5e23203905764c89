"""What the readers of feature files share."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.checks import check_values
from reloclnet_mm.utils.checks import check_number

Opened = TypeVar('Opened')
Setting = str | int | float


class FeatureReader(ABC, Generic[Opened]):
    """Reads arrays of feature rows by key.

    The file is opened at the first use, by each process for itself, and never read whole.

    Args:
        path: The file or folder.
        channels: Width that its rows must have; None: any.
    """

    def __init__(self, path: str | Path, channels: int | None = None) -> None:
        self.path = Path(path)
        self.channels = channels
        self._opened: Opened | None = None
        self._owner: int | None = None

    def read(self, key: str, max_rows: int | None = None) -> np.ndarray:
        """Return the array of a key, a new one at each call.

        Args:
            key: Video name or query id.
            max_rows: Read only the first so many rows; None: all.

        Returns:
            (rows, channels) float32.

        Raises:
            InputError: The file or key is missing or damaged, or the array is not one of finite
                numbers, as many as ``channels`` in a row, whose squares float32 can add up.
        """
        rows = self._read(key, max_rows)
        check_values(f'{self.path}: key {key!r}', rows)
        return rows

    @property
    @abstractmethod
    def attributes(self) -> dict[str, Setting]:
        """Return the settings that the features were made with, as far as the file has them."""

    @property
    def dtype(self) -> np.dtype:
        """Return the narrower of the types that hold all values: float32 or float16."""
        return np.dtype(np.float32)

    @abstractmethod
    def keys(self) -> list[str]:
        """Return all keys, in the file's order."""

    @abstractmethod
    def num_rows(self, key: str) -> int:
        """Return the number of rows of a key, without reading them; errors as of :meth:`read`."""

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._opened is not None and self._owner == os.getpid():
            self._close(self._opened)
        self._opened = None

    @abstractmethod
    def _read(self, key: str, max_rows: int | None) -> np.ndarray: ...

    @abstractmethod
    def _open_file(self) -> Opened: ...

    @abstractmethod
    def _close(self, opened: Opened) -> None: ...

    def _open(self) -> Opened:
        # What was opened before a fork must not be used after it.
        if self._opened is None or self._owner != os.getpid():
            self._opened, self._owner = self._open_file(), os.getpid()
        return self._opened

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_opened': None, '_owner': None}

    def __del__(self) -> None:
        self.close()


def recorded_clip_length(reader: FeatureReader) -> float | None:
    """Return the seconds of a clip that the attribute ``clip_length`` of features tells.

    Args:
        reader: The features of a stream.

    Returns:
        Seconds; None: there is no such attribute, as where rows are no clips of one length.

    Raises:
        InputError: It is no positive, finite number.
    """
    recorded = reader.attributes.get('clip_length')
    if recorded is None:
        return None
    try:
        check_number('clip_length', recorded, above=0)
    except ValueError as error:
        raise InputError(
            f'{reader.path}: attribute {error}; set it to the seconds of a clip, or remove it, or '
            'extract the features again'
        ) from error
    return float(recorded)


def no_such_features(path: Path) -> InputError:
    """Return the error for a path with neither an h5 file nor a packed store."""
    return InputError(
        f'{path}: no such file; expected features there, an h5 file or the folder of a packed '
        'store. Put it in place, or set data_root and feature_files of the data set to where it is'
    )


def no_such_key(path: Path, key: str, keys: Mapping[str, Any]) -> InputError:
    """Return the error for a key that is not among those of a file."""
    return InputError(
        f'{path}: no features under the key {key!r} ({len(keys)} keys, such as '
        f'{next(iter(keys), None)!r}); extract them, or remove what names them from the annotation'
    )


def settings_among(values: Mapping[str, Any]) -> dict[str, Setting]:
    """Return the texts and numbers among the attributes of a file, as Python's own types."""
    plain = {
        name: x.item() if isinstance(x, np.generic) else x  # h5py gives NumPy's numbers
        for name, x in values.items()
    }
    return {name: x for name, x in plain.items() if isinstance(x, str | int | float)}
