"""Writing a feature file that a killed run neither damages nor has to begin again."""

import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
from mmengine.logging import print_log

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.checks import DTYPES, to_dtype
from reloclnet_mm.features.h5 import FeatureFile
from reloclnet_mm.features.reading import Setting
from reloclnet_mm.utils.fileio import replace_file, writing


class FeatureWriter:
    """Writes features by key into an h5 file, together with the settings that made them.

    A process killed while it has an h5 file open for writing can leave one that nothing opens. So
    every batch of features becomes a small file of its own in the folder ``<path>.parts``, and
    :meth:`finish` gathers them; ``path`` itself is absent, as it was before, or complete.

    Args:
        path: The h5 file: one array a key, settings as attributes of the root.
        settings: What the features depend on. Existing features are refused where one has another
            value, is missing, or is set in addition.
        dtype: Type of the values in the file, ``float32`` or ``float16``.
    """

    def __init__(
        self, path: str | os.PathLike, settings: Mapping[str, Setting], dtype: str
    ) -> None:
        if dtype not in DTYPES:
            raise InputError(f'dtype {dtype!r}, expected {" or ".join(DTYPES)}')
        self.path = Path(path)
        self.parts_dir = Path(f'{path}.parts')
        self.dtype = dtype
        self.settings = {**settings, 'dtype': dtype}
        self._drop_unreadable_parts()
        files = [self.path] * self.path.exists() + self._parts()
        self._keys = {key for file in files for key in self._read_keys(file)}

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the keys that have no features yet, in the given order."""
        keys = list(keys)
        for key in keys:
            # HDF5 would read a slash as a path of groups, a dot as the group itself.
            if not key or '/' in key or key == '.':
                raise InputError(f'{self.path}: {key!r} cannot be a key of an h5 file; rename it')
        return [key for key in keys if key not in self._keys]

    def write(self, features: Mapping[str, np.ndarray]) -> None:
        """Keep the features of some more keys.

        Args:
            features: (rows, width) arrays of finite numbers by key.

        Raises:
            InputError: An array is refused by :func:`~reloclnet_mm.features.checks.to_dtype`, or
                the file cannot be written.
        """
        arrays = {
            key: to_dtype(f'{self.path}: key {key!r}', np.asarray(array), self.dtype)
            for key, array in features.items()
        }
        number = max((int(part.stem) for part in self._parts()), default=-1) + 1
        part = self.parts_dir / f'{number:06}.h5'
        # Made in memory: HDF5 does not recover from a write that fails.
        with h5py.File(part, 'w', driver='core', backing_store=False) as file:
            file.attrs.update(self.settings)
            for key, array in arrays.items():
                file.create_dataset(key, data=array)
            file.flush()
            content = file.id.get_file_image()
        with replace_file(part) as temporary:
            temporary.write_bytes(content)
        self._keys.update(arrays)

    def finish(self) -> None:
        """Gather what has been written into ``path``.

        Raises:
            InputError: The file cannot be written.
        """
        parts = self._parts()
        if not parts and self.path.exists():
            return
        # What a kill leaves here is removed together with the folder by the next run.
        whole = self.parts_dir / 'whole.h5'
        with replace_file(whole) as temporary:
            if self.path.exists():
                shutil.copyfile(self.path, temporary)
            try:
                with h5py.File(temporary, 'a') as file:
                    file.attrs.update(self.settings)
                    for part in parts:
                        _copy_new_keys(part, file)
            except RuntimeError as e:  # as h5py has it where it cannot write
                raise OSError(str(e)) from e
        with writing(self.path):
            os.replace(whole, self.path)
        shutil.rmtree(self.parts_dir, ignore_errors=True)

    def _parts(self) -> list[Path]:
        return sorted(self.parts_dir.glob('[0-9]*.h5'))

    def _drop_unreadable_parts(self) -> None:
        """Remove parts that a loss of power cut short; their features are made again."""
        for part in self._parts():
            try:
                FeatureFile(part).keys()
            except InputError:
                print_log(f'{part}: damaged, made again', 'current', logging.WARNING)
                part.unlink()

    def _read_keys(self, path: Path) -> list[str]:
        file = FeatureFile(path)
        found, given = file.attributes, self.settings
        differing = [
            f'{name} {found.get(name, "not recorded")} there, {given.get(name, "not set")} now'
            for name in {**given, **found}
            if found.get(name) != given.get(name)
        ]
        if differing:
            raise InputError(
                f'{path}: made with other settings: {"; ".join(differing)}. Use the same, '
                f'choose another output, or remove {self.path} and {self.parts_dir}'
            )
        return file.keys()


def source_setting(sources: Iterable[Path], out: Path) -> str:
    """Return where features come from, as a setting of :class:`FeatureWriter`.

    Args:
        sources: Files or folders.
        out: The h5 file that is written.

    Returns:
        Their paths as seen from the folder of ``out``: two sources of one name differ, and a
        folder that holds sources and file can be moved.
    """
    folder = out.resolve().parent
    return ' '.join(Path(os.path.relpath(path.resolve(), folder)).as_posix() for path in sources)


def _copy_new_keys(part: Path, target: h5py.File) -> None:
    with h5py.File(part) as source:
        for key in source:
            # parts outlive a run killed right after it had gathered them
            if key not in target:
                source.copy(key, target)
