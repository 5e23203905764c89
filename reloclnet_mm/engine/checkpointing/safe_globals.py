"""What the pickle in a checkpoint may name, each name as an inert stand-in.

torch's weights-only unpickler calls whatever the file tells it to, with
arguments and states of the file's choosing, once a name is on the allow-list.
The real objects are not fit for that: ``HistoryBuffer.__setstate__`` writes
functions from the file into a table of its class, ``numpy.dtype.__setstate__``
believes sizes and flags that make NumPy read foreign memory, ``getattr`` reaches
everything. So no name here leads to the real thing. The unpickler meets records
which only check and keep plain data, and :func:`resolve` makes the real objects
of them afterwards.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer
from torch import Tensor

from reloclnet_mm.engine.checkpointing.plain_tensors import check_plain
from reloclnet_mm.errors import InputError

_PLAIN_DTYPE = re.compile(r'b1|[iu][1248]|f[248]|c(8|16)|[SU][1-9]\d*')
_STATISTICS = frozenset({'min', 'max', 'current', 'mean'})
_HISTORY_KEYS = frozenset({'max_length', '_log_history', '_count_history', 'statistics_methods'})


class DTypeRecord:
    """Stand-in for ``numpy.dtype``: numbers and text of fixed length only.

    Objects, records and sub-arrays are refused: their elements could be anything.
    """

    __slots__ = ('dtype',)

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise InputError(
                f'it holds NumPy data of dtype {code!r}; only numbers and text of fixed length are '
                'read'
            )
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if not (
            isinstance(state, tuple)
            and len(state) == 8
            and state[1] in ('<', '>', '=', '|')
            and state[2:5] == (None, None, None)
        ):
            raise InputError(f'it holds a NumPy dtype with the state {state!r}, which is not plain')
        self.dtype = self.dtype.newbyteorder(state[1])


class ArrayRecord:
    """Stand-in for ``numpy.ndarray``, filled by the state that NumPy pickles."""

    __slots__ = ('array',)

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, record, is_fortran, data = state
        array = np.frombuffer(*_checked(data, record, math.prod(shape)))
        self.array = array.reshape(shape, order='F' if is_fortran else 'C').copy(order='K')


class HistoryBufferRecord:
    """Stand-in for mmengine's ``HistoryBuffer``: its data, without its functions."""

    __slots__ = ('state',)

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        unknown = set(state) - _HISTORY_KEYS
        if unknown:
            raise InputError(f'it holds a HistoryBuffer with unknown attributes {sorted(unknown)}')
        self.state = state

    def build(self) -> HistoryBuffer:
        """Return the real buffer, with the statistics this process has registered."""
        values, counts = (
            _finished(self.state.get(key)) for key in ('_log_history', '_count_history')
        )
        return HistoryBuffer(values, counts, max_length=self.state['max_length'])


def reconstruct_array(cls: type, shape: tuple, typecode: bytes) -> ArrayRecord:
    """Stand-in for NumPy's ``_reconstruct``, which makes the array that a state will fill."""
    if cls is not ArrayRecord:
        raise InputError(f'it holds an array of the class {cls!r}; only plain arrays are read')
    return ArrayRecord()


def numpy_scalar(record: DTypeRecord, data: bytes) -> np.generic:
    """Stand-in for NumPy's ``scalar``: one value from its bytes, never an object."""
    return np.frombuffer(*_checked(data, record, 1))[0]


def history_statistic(owner: type, name: str) -> str:
    """Stand-in for ``getattr``, by which HistoryBuffer's statistics are pickled.

    It hands out the name alone: the statistics of this process are used.
    """
    if owner is not HistoryBufferRecord or name not in _STATISTICS:
        raise InputError(
            f'it asks for `builtins.getattr` of {name!r}, which could reach code; only the '
            f'statistics {sorted(_STATISTICS)} of a HistoryBuffer may be named'
        )
    return name


def empty_bytes() -> bytes:
    """Stand-in for ``bytes``, which pickle calls without arguments for an empty array."""
    return b''


ALLOWED_GLOBALS: tuple[tuple[Callable, str], ...] = (
    # The message hub keeps each logged scalar's history in a HistoryBuffer …
    (HistoryBufferRecord, 'mmengine.logging.history_buffer.HistoryBuffer'),
    # … which pickles its four statistics as getattr(HistoryBuffer, name).
    (history_statistic, 'builtins.getattr'),
    # Histories are arrays; best scores, dataset meta and the like hold NumPy scalars.
    (DTypeRecord, 'numpy.dtype'),
    (ArrayRecord, 'numpy.ndarray'),
    (reconstruct_array, 'numpy._core.multiarray._reconstruct'),
    (numpy_scalar, 'numpy._core.multiarray.scalar'),
    # The same two as NumPy 1 spells them.
    (reconstruct_array, 'numpy.core.multiarray._reconstruct'),
    (numpy_scalar, 'numpy.core.multiarray.scalar'),
    # The data of an array without elements.
    (empty_bytes, 'builtins.bytes'),
)


def resolve(content: Any) -> Any:
    """Replace every record in the loaded ``content`` by its object, and check every tensor.

    Dicts and lists are changed in place, so that their classes, attributes and shared references
    stay as they were saved.

    Raises:
        InputError: A record has no data, or a tensor is not plain (see :func:`check_plain`).
    """
    return _resolve(content, {})


def _resolve(value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    # `seen` keeps the visited object beside the result: its id cannot be given to another.
    if id(value) in seen:
        return seen[id(value)][1]
    if isinstance(value, dict):
        seen[id(value)] = (value, value)
        # An OrderedDict from a file may carry an attribute named `items`.
        for key, item in list(dict.items(value)):
            _resolve(key, seen)
            value[key] = _resolve(item, seen)
        # Dicts of classes that have attributes, such as the `_metadata` of a model's weights.
        if hasattr(value, '__dict__'):
            _resolve(value.__dict__, seen)
        return value
    if type(value) is list:
        seen[id(value)] = (value, value)
        value[:] = [_resolve(item, seen) for item in value]
        return value
    result = _resolve_leaf_or_tuple(value, seen)
    seen[id(value)] = (value, result)
    return result


def _resolve_leaf_or_tuple(value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    if type(value) is tuple:
        return tuple(_resolve(item, seen) for item in value)
    if isinstance(value, set):
        return {_resolve(item, seen) for item in value}
    if isinstance(value, Tensor):
        check_plain(value)
    if isinstance(value, DTypeRecord):
        return value.dtype
    if isinstance(value, ArrayRecord):
        return _finished(value)
    if isinstance(value, HistoryBufferRecord):
        return value.build()
    return value


def _finished(record: Any) -> np.ndarray:
    if not isinstance(record, ArrayRecord) or record.array is None:
        raise InputError('it holds a NumPy array without data')
    return record.array


def _checked(data: bytes, record: DTypeRecord, count: int) -> tuple[bytes, np.dtype]:
    """Return the arguments of ``numpy.frombuffer`` if ``data`` holds ``count`` elements."""
    if not isinstance(record, DTypeRecord) or not isinstance(data, bytes):
        raise InputError(f'it holds NumPy data of a {type(data).__name__}, not of plain bytes')
    if count < 0 or len(data) != count * record.dtype.itemsize:
        raise InputError(
            f'it holds NumPy data of {len(data)} bytes for {count} elements of {record.dtype}'
        )
    return data, record.dtype
