"""What an index knows of its videos and of what made it."""

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from reloclnet_mm.errors import InputError


class FileStamp(Struct, frozen=True):
    """By what a changed file is told.

    Attributes:
        path: The file.
        size: Bytes.
        mtime_ns: Time of the last change in nanoseconds.
        sha256: Of its content.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str

    @staticmethod
    def of(path: Path) -> 'FileStamp':
        """Read a file's stamp.

        Raises:
            InputError: It cannot be read.
        """
        try:
            # Opening a pipe would wait for its writer.
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise InputError(f'{path}: is no regular file; leave it out')
            with open(path, 'rb') as file:
                state = os.fstat(file.fileno())
                digest = hashlib.file_digest(file, 'sha256').hexdigest()
        except OSError as error:
            raise InputError(f'{path}: cannot be read ({error.strerror}); check it') from error
        return FileStamp(str(path), state.st_size, state.st_mtime_ns, digest)

    def is_untouched(self) -> bool:
        """Tell whether the file is what it was, by size and time."""
        try:
            state = os.stat(self.path)
        except OSError:
            return False
        return (state.st_size, state.st_mtime_ns) == (self.size, self.mtime_ns)

    def is_current(self) -> bool:
        """Tell whether the file is what it was, by size and time, else by its content."""
        if self.is_untouched():
            return True
        try:
            if os.stat(self.path).st_size != self.size:
                return False
            return FileStamp.of(Path(self.path)).sha256 == self.sha256
        except (OSError, InputError):
            return False


class VideoRecord(Struct, frozen=True):
    """A video of an index.

    Attributes:
        name: Its name in the index.
        path: Its file.
        duration: Seconds.
        has_video: Whether there are pictures to show.
        num_sentences: Sentences that are said in it.
        files: What its features were made of: the file, and its subtitles.
        first_window: Id of its first window; those of the others follow.
        starts: Begin of each window in seconds.
        segment: Segment of the index that its windows are in; empty: not saved yet.
        text_at: Where its line of the segment's sentences begins, and its length, in bytes.
    """

    name: str
    path: str
    duration: float
    has_video: bool
    num_sentences: int
    files: tuple[FileStamp, ...]
    first_window: int
    starts: tuple[float, ...]
    segment: str = ''
    text_at: tuple[int, int] = (0, 0)

    @property
    def windows(self) -> range:
        """Ids of its windows."""
        return range(self.first_window, self.first_window + len(self.starts))

    def is_current(self, paths: Iterable[Path]) -> bool:
        """Tell whether its files are what they were, and those of ``paths``."""
        return [x.path for x in self.files] == [str(path) for path in paths] and all(
            file.is_current() for file in self.files
        )


class Origin(Struct, frozen=True):
    """What made an index; another index is searched only by the same.

    Attributes:
        model: Name of a model that comes with the package; None: another one.
        weights: Checksum of the model's weights.
        recipe: What the features depend on.
        window_clips: Clips of a window.
        window_stride: Clips from one window to the next.
    """

    model: str | None
    weights: str
    recipe: dict[str, Any]
    window_clips: int
    window_stride: int


class _OfFile(Protocol):
    """What has a name already."""

    path: str


def unique_name(path: Path, root: Path, taken: Mapping[str, _OfFile]) -> str:
    """Name a video: its path below ``root`` without the ending, and more of the path where taken.

    Args:
        path: The file.
        root: Folder in which it was found.
        taken: Names of other videos.
    """
    whole = path.with_suffix('')
    names = [
        whole.relative_to(parent).as_posix() for parent in (root, *root.parents) if parent != whole
    ]
    for name in (*names, *(f'{name}{path.suffix}' for name in names)):
        if name not in taken or taken[name].path == str(path):
            return name
    raise InputError(f'{path}: all of its names are taken by other videos; rename the file')


def difference(found: Any, expected: Any, where: str = '') -> str | None:
    """Name the first entry in which two settings differ, None: they are equal.

    Args:
        found: One, of dicts and plain values.
        expected: The other.
        where: Name of both.
    """
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in (*expected, *(key for key in found if key not in expected)):
            # The same weights may lie elsewhere.
            if key in ('encoder', 'model') and found.get('weights') and expected.get('weights'):
                continue
            inner = difference(found.get(key), expected.get(key), f'{where}.{key}'.lstrip('.'))
            if inner:
                return inner
        return None
    return None if found == expected else f'{where} {found!r} there, {expected!r} here'
