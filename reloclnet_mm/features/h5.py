"""Reading features from h5 files.

An h5 file runs no code, but it can name other files, whose content HDF5 then reads as if it were
its own: by links, by virtual arrays and by values stored elsewhere. All of these are refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import h5py
import numpy as np
from h5py import h5l

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.checks import check_shape
from reloclnet_mm.features.reading import (
    FeatureReader,
    Setting,
    no_such_features,
    no_such_key,
    settings_among,
)

_REAL_NUMBERS = 'fiu'


class FeatureFile(FeatureReader[h5py.File]):
    """An h5 file with one array of rows a key, read as all features are.

    Keys may be paths of groups, with ``/`` between the names. See
    :class:`~reloclnet_mm.features.reading.FeatureReader` for the arguments.
    """

    @property
    def attributes(self) -> dict[str, Setting]:
        """Return the texts and numbers among the attributes of the root."""
        with _h5_errors(f'{self.path}: attributes'):
            return settings_among(self._open().attrs)

    def keys(self) -> list[str]:
        """Return all keys, in the file's order."""
        with _h5_errors(str(self.path)):
            return list(self._open())

    def num_rows(self, key: str) -> int:
        """Return the number of rows of a key, without reading them; errors as of :meth:`read`."""
        with _h5_errors(self._where(key)):
            return self._find(key).shape[0]

    def _read(self, key: str, max_rows: int | None) -> np.ndarray:
        with _h5_errors(self._where(key)), np.errstate(over='ignore'):
            return self._find(key)[:max_rows].astype(np.float32, copy=False)

    def _where(self, key: str) -> str:
        return f'{self.path}: key {key!r}'

    def _find(self, key: str) -> h5py.Dataset:
        """Return the array of a key, unopened if it is not wholly in this file."""
        where, file = self._where(key), self._open()
        found = file
        for name in key.encode(errors='surrogateescape').split(b'/'):
            if not name:
                continue
            # Only these calls look at a link without opening what it names.
            if not isinstance(found, h5py.Group) or not found.id.links.exists(name):
                raise no_such_key(self.path, key, file)
            if found.id.links.get_info(name).type != h5l.TYPE_HARD:
                raise InputError(
                    f'{where}: found a link, expected the array itself, for links can lead to '
                    'other files; have the features copied into one file without links'
                )
            found = found[name]
        if not isinstance(found, h5py.Dataset):
            raise InputError(f'{where}: found a {type(found).__name__.lower()}, expected an array')
        check_shape(where, found.shape or (), self.channels)
        _check_content(where, found)
        return found

    def _open_file(self) -> h5py.File:
        if not self.path.is_file():
            raise no_such_features(self.path)
        try:
            return h5py.File(self.path, 'r')
        except OSError as e:
            raise InputError(f'{self.path}: not an h5 file ({e}); fetch it again') from e

    def _close(self, opened: h5py.File) -> None:
        opened.close()


def _check_content(where: str, array: h5py.Dataset) -> None:
    """Refuse what is not real numbers, or lies in other files."""
    if array.dtype.kind not in _REAL_NUMBERS:
        raise InputError(
            f'{where}: found values of the type {array.dtype}, expected real numbers; extract it '
            'again'
        )
    if array.is_virtual or array.external:
        raise InputError(
            f'{where}: found an array whose values lie in other files, expected them in this one; '
            'have the features copied into one file'
        )


@contextmanager
def _h5_errors(where: str) -> Iterator[None]:
    """Put file and key before what h5py says of a damaged file."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, MemoryError) as e:
        raise InputError(
            f'{where}: cannot be read ({e}); the file is damaged, or compressed by a filter '
            'that is not installed: fetch it again, or have it written without the filter'
        ) from e
