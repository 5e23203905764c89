"""Writing a feature file that a killed run neither damages nor has to begin again."""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from mmengine.logging import print_log

from reloclnet_mm.errors import InputError

Settings = Mapping[str, str | int | float]


class FeatureWriter:
    """Puts features by key into an h5 file, together with the settings that made them.

    HDF5 has no journal: a process killed while it has a file open for writing can leave one
    that nothing opens. So every batch of features becomes a small file of its own in the
    folder ``<path>.parts``, complete before it takes its final name, and :meth:`finish`
    gathers them; ``path`` itself is either absent, as it was, or complete.

    Args:
        path: The h5 file: one array a key, settings as attributes of the root.
        settings: What the features depend on. Existing features of other settings are refused.
        dtype: Of the file, ``float32`` or ``float16``.
    """

    def __init__(self, path: str | os.PathLike, settings: Settings, dtype: str) -> None:
        if dtype not in ('float32', 'float16'):
            raise InputError(f'dtype {dtype!r}, expected float32 or float16')
        self.path = Path(path)
        self.parts_dir = Path(f'{path}.parts')
        self.dtype = dtype
        self.settings = {**settings, 'dtype': dtype}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._drop_unreadable_parts()
        self._keys = {key for file in self._files() for key in self._read_keys(file)}

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that have no features yet, in the given order."""
        keys = list(keys)
        for key in keys:
            # HDF5 would read a slash as a path of groups, a dot as the group itself
            if not key or '/' in key or key == '.':
                raise InputError(f'{self.path}: {key!r} cannot be a key of an h5 file; rename it')
        return [key for key in keys if key not in self._keys]

    def write(self, features: Mapping[str, np.ndarray]) -> None:
        """Keep the features of some more keys.

        Args:
            features: (rows, width) arrays of finite numbers by key.
        """
        arrays = {key: self._convert(key, array) for key, array in features.items()}
        self.parts_dir.mkdir(exist_ok=True)
        number = max((int(part.stem) for part in self._parts()), default=-1) + 1
        part = self.parts_dir / f'{number:06}.h5'
        with _replacing(part) as temporary, h5py.File(temporary, 'w') as file:
            file.attrs.update(self.settings)
            for key, array in arrays.items():
                file.create_dataset(key, data=array)
        self._keys.update(arrays)

    def finish(self) -> None:
        """Gather what has been written into ``path``."""
        parts = self._parts()
        if not parts and self.path.exists():
            return
        with _replacing(self.path) as temporary:
            if self.path.exists():
                shutil.copyfile(self.path, temporary)
            with h5py.File(temporary, 'a') as file:
                file.attrs.update(self.settings)
                for part in parts:
                    _copy_new_keys(part, file)
        shutil.rmtree(self.parts_dir, ignore_errors=True)

    def _convert(self, key: str, array: np.ndarray) -> np.ndarray:
        with np.errstate(over='ignore'):
            converted = np.asarray(array).astype(self.dtype)
        if not np.isfinite(converted).all():
            raise InputError(
                f'{self.path}: features of {key} hold NaN or infinity as {self.dtype}; '
                'expected finite numbers'
            )
        return converted

    def _parts(self) -> list[Path]:
        return sorted(self.parts_dir.glob('[0-9]*.h5'))

    def _files(self) -> Iterator[Path]:
        if self.path.exists():
            yield self.path
        yield from self._parts()

    def _drop_unreadable_parts(self) -> None:
        """Remove parts that a loss of power cut short; their features are made again."""
        for part in self._parts():
            if not _is_readable(part):
                print_log(f'{part}: damaged, made again', 'current', logging.WARNING)
                part.unlink()

    def _read_keys(self, file: Path) -> list[str]:
        try:
            with h5py.File(file) as opened:
                found = dict(opened.attrs)
                keys = list(opened)
        except OSError as error:
            raise InputError(
                f'{file}: not a readable h5 file ({error}); remove it or choose another output'
            ) from error
        differing = [
            f'{name} {found.get(name, "not recorded")} there, {value} now'
            for name, value in self.settings.items()
            if found.get(name) != value
        ]
        if differing:
            raise InputError(
                f'{file}: made with other settings: {"; ".join(differing)}. Use the same, '
                f'choose another output, or remove {self.path} and {self.parts_dir}'
            )
        return keys


def _is_readable(path: Path) -> bool:
    try:
        with h5py.File(path):
            return True
    except OSError:
        return False


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder that becomes ``path`` if all goes well."""
    temporary = path.with_name(f'{path.name}.tmp')
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _copy_new_keys(part: Path, target: h5py.File) -> None:
    with h5py.File(part) as source:
        for key in source:
            # parts outlive a run killed right after it had gathered them
            if key not in target:
                source.copy(key, target)
