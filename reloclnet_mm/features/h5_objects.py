"""Finding arrays in an h5 file from anywhere, without following it to other files.

An h5 file runs no code, but it can name other files, whose content HDF5 then reads as if it were
its own: by external links, by virtual data sets, and by raw data that is stored elsewhere.
"""

from collections import deque

import h5py
from h5py import h5l

from reloclnet_mm.errors import InputError

_REAL_NUMBERS = 'fiu'
# As many as HDF5 follows.
_MAX_SOFT_LINKS = 16


def find_object(file: h5py.File, path: str) -> h5py.Dataset | h5py.Group | h5py.Datatype | None:
    """What stands at a path of a file; nothing outside of the file is opened.

    Args:
        file: An open file.
        path: Names with ``/`` between them.

    Returns:
        The object; None where there is none.

    Raises:
        InputError: A link on the way leaves the file, or links lead in a circle.
    """
    found, names, num_links = file, deque(_names(path)), 0
    while names and found is not None:
        name = names.popleft()
        if not isinstance(found, h5py.Group) or not found.id.links.exists(name):
            return None
        kind = found.id.links.get_info(name).type
        if kind == h5l.TYPE_HARD:
            found = found[name]
            continue
        num_links += 1
        if kind != h5l.TYPE_SOFT or num_links > _MAX_SOFT_LINKS:
            raise InputError(
                f'{file.filename}: key {path!r}: found a link out of the file or in a circle, '
                'expected the array itself; have the features copied into one file'
            )
        target = found.id.links.get_val(name).decode('utf-8', 'surrogateescape')
        if target.startswith('/'):
            found = file
        names.extendleft(reversed(_names(target)))
    return found


def _names(path: str) -> list[bytes]:
    return [
        name.encode('utf-8', 'surrogateescape') for name in path.split('/') if name not in ('', '.')
    ]


def check_content(where: str, array: h5py.Dataset) -> None:
    """Refuse what is not numbers, or does not lie in its file.

    Args:
        where: File and key, for the message.
        array: The array.

    Raises:
        InputError: It is so.
    """
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
