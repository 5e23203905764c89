"""Reading whole texts, writing files that are whole or not there."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reloclnet_mm.errors import InputError


def read_text(path: str | os.PathLike) -> str:
    """The whole of a UTF-8 file, with or without a byte order mark."""
    try:
        return Path(path).read_bytes().decode('utf-8-sig')
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror}); check the path') from error
    except UnicodeDecodeError as error:
        raise InputError(
            f'{path}: not UTF-8 at byte {error.start}; save the file as UTF-8'
        ) from error


def write_text_atomically(path: str | os.PathLike, text: str) -> None:
    """Write a file by way of a temporary one in the same folder."""
    temporary = Path(f'{path}.tmp')
    temporary.write_text(text, encoding='utf-8')
    os.replace(temporary, path)


def write_jsonl(path: str | os.PathLike, entries: Iterable[dict[str, Any]]) -> None:
    """Write an object a line, atomically."""
    lines = [json.dumps(entry, ensure_ascii=False) + '\n' for entry in entries]
    write_text_atomically(path, ''.join(lines))
