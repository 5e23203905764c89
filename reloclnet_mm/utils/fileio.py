"""Reading whole texts, and writing files that are whole or not there."""

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reloclnet_mm.errors import InputError

# Reading the mask means setting it, for all threads.
_UMASK = os.umask(0)
os.umask(_UMASK)


def read_text(path: str | os.PathLike) -> str:
    """Return the whole of a UTF-8 file, with or without a byte order mark.

    Raises:
        InputError: The file cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_bytes().decode('utf-8-sig')
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror}); check the path') from error
    except UnicodeDecodeError as error:
        raise InputError(
            f'{path}: not UTF-8 at byte {error.start}; save the file as UTF-8'
        ) from error


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path to write to, which takes the place of ``path`` if all goes well.

    A reader, or the next run after a kill, finds the old file or the new one, never a part. The
    folder is made if absent; a link keeps pointing to its file, whose content is replaced.

    Args:
        path: File to write or replace.

    Yields:
        A hidden path in the same folder; what is there after an error is removed.

    Raises:
        InputError: The file cannot be written: no space, no permission, not a regular file.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f'.{target.name}.{secrets.token_hex(4)}.partial')
    with writing(path):
        if target.exists() and not target.is_file():
            raise InputError(f'{path}: is not a regular file; choose another name')
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            # Some libraries make files that no one else may read.
            temporary.chmod(0o666 & ~_UMASK)
            with temporary.open('rb') as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turn what the system says when a file or folder cannot be written into one message.

    Args:
        path: What is written, named in the message.

    Raises:
        InputError: In the place of an OSError, unless that names a file somewhere else.
    """
    try:
        yield
    except OSError as error:
        folder = Path(os.path.realpath(path)).parent
        named = folder if error.filename is None else Path(os.path.realpath(error.filename))
        if not (named.is_relative_to(folder) or folder.is_relative_to(named)):
            raise
        # HDF5 puts the system's error number into a text of several lines.
        number = re.search(r'errno = (\d+)', str(error))
        reason = os.strerror(int(number[1])) if number else error.strerror or str(error)
        raise InputError(
            f'{path}: cannot be written ({reason}); make room on the disk, check the permissions '
            'of the folder, or choose another place'
        ) from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 file in one step."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def write_json(path: str | os.PathLike, value: Any, indent: int | None = None) -> None:
    """Write a value as JSON in one step."""
    write_text(path, json.dumps(value, indent=indent) + '\n')


def write_jsonl(path: str | os.PathLike, entries: Iterable[dict[str, Any]]) -> None:
    """Write an object a line in one step."""
    write_text(path, ''.join(json.dumps(x, ensure_ascii=False) + '\n' for x in entries))
