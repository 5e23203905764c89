"""Reading features as other programs leave them: a file a video, or groups in an h5 file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.checks import check_shape, check_values
from reloclnet_mm.features.h5 import FeatureFile

# RuntimeError: an encrypted or otherwise unknown entry of a zip file.
_NUMPY_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


class H5Source:
    """An h5 file with an array a key, or a group a key with the array in it.

    Args:
        path: The file.
        array: Name of the array within each group; None: the keys are the arrays.
    """

    def __init__(self, path: Path, array: str | None = None) -> None:
        self._file = FeatureFile(path)
        self._inner = '' if array is None else f'/{array}'

    def keys(self) -> list[str]:
        """Return the names of the videos or the ids of the queries."""
        return self._file.keys()

    def read(self, key: str) -> np.ndarray:
        """Return (rows, width) float32 of a key; errors as of FeatureReader.read."""
        return self._file.read(key + self._inner)


class FolderSource:
    """A folder with a file a key: ``KEY.npy``, ``KEY.npz`` or ``KEY.csv``.

    A ``.csv`` file has a row a line and may have a line of titles, as mmaction2's features for
    BMN. Nothing is unpickled. Axes of length 1, as in (rows, 1, 1, width), are dropped.

    Args:
        path: The folder.
        array: Name of the array within each ``.npz`` file; None: the only one that it has.

    Raises:
        InputError: The folder has no such file, or two of one key.
    """

    def __init__(self, path: Path, array: str | None = None) -> None:
        self._array = array
        self._files: dict[str, Path] = {}
        for file in sorted(path.iterdir()):
            if file.suffix in ('.npy', '.npz', '.csv'):
                other = self._files.setdefault(file.stem, file)
                if other is not file:
                    raise InputError(
                        f'{file}: {other.name} has features of {file.stem!r} too; remove one'
                    )
        if not self._files:
            raise InputError(f'{path}: found no .npy, .npz or .csv file, expected one a key')

    def keys(self) -> list[str]:
        """Return the names of the videos or the ids of the queries."""
        return list(self._files)

    def read(self, key: str) -> np.ndarray:
        """Return the features of a key.

        Returns:
            (rows, width) float32.

        Raises:
            InputError: The file cannot be read, or holds no such array of finite numbers.
        """
        path = self._files[key]
        try:
            rows = _read_text(path) if path.suffix == '.csv' else _load(path, self._array)
        except InputError:
            raise
        except _NUMPY_ERRORS as error:
            raise InputError(
                f'{path}: found no array of numbers that can be read ({error}); expected one '
                'without Python objects in it. Fetch or save the file again'
            ) from error
        if rows.dtype.kind not in 'fiu':
            raise InputError(f'{path}: found values of the type {rows.dtype}, expected numbers')
        if rows.ndim > 2 and sum(length > 1 for length in rows.shape[:-1]) <= 1:
            rows = rows.reshape(-1, rows.shape[-1])
        check_shape(str(path), rows.shape)
        rows = rows.astype(np.float32, copy=False)
        check_values(str(path), rows)
        return rows


def open_source(path: Path, array: str | None = None) -> H5Source | FolderSource:
    """Return the source of a path: a folder of files, or an h5 file.

    Args:
        path: The folder or the file.
        array: Name of the array within each file or group; None: there is only one.
    """
    return (FolderSource if path.is_dir() else H5Source)(path, array)


def _load(path: Path, array: str | None) -> np.ndarray:
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        names = loaded.files
        if array is None and len(names) != 1:
            raise InputError(f'{path}: found the arrays {names}; choose one by --array')
        if array is not None and array not in names:
            raise InputError(f'{path}: found the arrays {names}, expected {array!r} among them')
        return loaded[array or names[0]]


def _read_text(path: Path) -> np.ndarray:
    with path.open(encoding='utf-8') as lines:
        has_titles = not any(map(_is_number, lines.readline().split(',')))
    return np.loadtxt(path, np.float32, delimiter=',', skiprows=int(has_titles), ndmin=2)


def _is_number(text: str) -> bool:
    """Tell whether a text is a number; nan and inf are, as in a row of damaged features."""
    try:
        float(text)
    except ValueError:
        return False
    return True
