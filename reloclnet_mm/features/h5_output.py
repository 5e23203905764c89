"""Writing h5 files, also where the disk gets full."""

import io
from pathlib import Path
from typing import Any

import h5py


class H5Output(h5py.File):
    """A new h5 file that raises what the system says when it cannot be written.

    HDF5 ignores some failed writes and crashes the process when it closes a file after one. Here
    it writes through a Python file that keeps the first error and accepts all that follows. The
    error is raised by the next assignment of an array, or when the file is closed.

    Args:
        path: File to write or replace.
    """

    def __init__(self, path: str | Path) -> None:
        self._disk = _Disk(path, 'w+')
        super().__init__(self._disk, 'w')

    def __setitem__(self, name: str, obj: Any) -> None:
        super().__setitem__(name, obj)
        self._disk.check()

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: Something could not be written.
        """
        super().close()
        self._disk.close()
        self._disk.check()


class _Disk(io.FileIO):
    error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast('B')
        size = len(left)
        try:
            while len(left) and self.error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def check(self) -> None:
        if self.error is not None:
            raise self.error
