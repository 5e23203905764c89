"""Reading JSON files by a schema, so that whatever is wrong in one ends in one message."""

import codecs
import json
import os
import re
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from reloclnet_mm.errors import InputError


def read_json(path: str | os.PathLike, schema: Any = Any) -> Any:
    """Return the content of a JSON file.

    Args:
        path: UTF-8 file, with or without a byte order mark.
        schema: Type that msgspec converts the content to and checks it by.

    Raises:
        InputError: The file is missing, no JSON, names a key twice, or does not fit the schema.
    """
    return check(_parse(_existing(path).read_bytes(), f'{path}', 'a JSON file'), schema, f'{path}')


def read_jsonl(path: str | os.PathLike, schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield the objects of a file with one JSON object a line; blank lines are skipped.

    Args:
        path: UTF-8 file, with or without a byte order mark.
        schema: Type of a line, as for :func:`read_json`.

    Yields:
        ``FILE:LINE`` for messages, and the object.

    Raises:
        InputError: The file is missing, or a line is no JSON or does not fit the schema.
    """
    with _existing(path).open('rb') as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                where = f'{path}:{number}'
                yield where, check(_parse(line, where, 'a line of JSON'), schema, where)


def read_json_list(path: str | os.PathLike, schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield the objects of a JSON file that is one list, without building the whole list.

    Args:
        path: UTF-8 file, with or without a byte order mark.
        schema: Type of an entry, as for :func:`read_json`.

    Yields:
        ``FILE: entry NUMBER`` for messages, counted from 0, and the object.

    Raises:
        InputError: The file is missing or no list in JSON, or an entry does not fit the schema.
    """
    data = _existing(path).read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        entries = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f'{path}: found no list in JSON ({error}); mend it, or fetch the file again'
        ) from error
    for number, entry in enumerate(entries):
        where = f'{path}: entry {number}'
        yield where, check(_parse(bytes(entry), where, 'JSON'), schema, where)


def check(value: Any, schema: Any, where: str) -> Any:
    """Convert a value to a type and check it.

    Args:
        value: What ``json`` made of a file.
        schema: Type that msgspec knows.
        where: File and line or key, for the message.

    Raises:
        InputError: The value does not fit.
    """
    try:
        return msgspec.convert(value, schema)
    except msgspec.ValidationError as error:
        expected, _, place = str(error).replace('`', "'").partition(' - at ')
        place, found = place.strip("'").removeprefix('$'), value
        for key, index in re.findall(r'\.(\w+)|\[(\d+)\]', place):
            found = found[key or int(index)]
        at = f' at {place.removeprefix(".")}' if place else ''
        expected = expected[0].lower() + expected[1:]
        raise InputError(
            f'{where}: found {reprlib.repr(found)}{at}: {expected}; mend or remove it'
        ) from error


def _existing(path: str | os.PathLike) -> Path:
    if not Path(path).is_file():
        raise InputError(
            f'{path}: no such file; put it in place, or set the path (in a config: data_root and '
            'the files of the reader) to where it is'
        )
    return Path(path)


def _parse(data: bytes, where: str, expected: str) -> Any:
    try:
        value = json.loads(
            data.decode('utf-8-sig'), object_pairs_hook=_unique, parse_constant=_refuse
        )
        if b'\\u' in data:
            json.dumps(value, ensure_ascii=False).encode()  # fails for half a character
    except RecursionError as error:
        raise InputError(f'{where}: lists or objects are nested too deeply; mend it') from error
    except ValueError as error:
        raise InputError(
            f'{where}: not {expected} ({error}); expected a JSON object. Mend or remove it, or '
            'fetch the file again'
        ) from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f'the key {twice!r} occurs twice in an object')
    return found


def _refuse(name: str) -> None:
    raise ValueError(f'{name} is no number')
