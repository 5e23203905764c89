"""Checks of feature arrays, when they are read and when they are written."""

import numpy as np

from reloclnet_mm.errors import InputError

DTYPES = {'float32': np.dtype('<f4'), 'float16': np.dtype('<f2')}


def check_shape(where: str, shape: tuple[int, ...], channels: int | None = None) -> None:
    """Refuse what is not an array of one row or more, all as wide as the config says.

    Args:
        where: File and key, for the message.
        shape: Shape of the array.
        channels: The width that rows must have; None: any.

    Raises:
        InputError: It has not two axes, no rows, or rows of another width.
    """
    if len(shape) != 2:
        raise InputError(
            f'{where}: found an array of shape {shape}, expected (rows, channels); extract it again'
        )
    if shape[0] == 0:
        raise InputError(f'{where}: found no rows, expected one a clip or token; extract it again')
    if shape[1] != (channels or shape[1]):
        raise InputError(
            f'{where}: found rows {shape[1]} wide, expected {channels}; set channels of the data '
            "set and the model's streams or query_channels to the width of your features"
        )


def wrong_width(name: str, found: int, expected: int) -> str:
    """Return the message about features of another width than the model was built for.

    Args:
        name: ``query`` or a stream.
        found: Width that the model gets, position columns included.
        expected: Width that it was built for.
    """
    return (
        f'{name} features are {found} wide and the model was built for {expected}: set channels '
        'of the data set to the width of your features, and query_channels or streams of the '
        'model to the same, two more where AppendTEF appends its columns'
    )


def check_values(where: str, rows: np.ndarray) -> None:
    """Refuse NaN, infinity, and rows too long for float32.

    Args:
        where: File and key, for the message.
        rows: (rows, channels) float32.

    Raises:
        InputError: The sum of a row's squares, which its norm is made of, is not finite.
    """
    with np.errstate(over='ignore', invalid='ignore'):
        # One product a row: faster than a look at each value, and never on several threads.
        squares = np.matmul(rows[:, None], rows[:, :, None])
    if np.isfinite(squares).all():
        return
    bad = int((~np.isfinite(squares)).argmax())
    largest = np.abs(rows[bad]).max()
    found = f'{largest:g}' if np.isfinite(largest) else 'NaN or infinity'
    raise InputError(
        f'{where}: found {found} in row {bad}, expected finite numbers whose squares float32 can '
        'add up; extract it again'
    )


def to_dtype(where: str, rows: np.ndarray, dtype: str) -> np.ndarray:
    """Convert rows for writing.

    Args:
        where: File and key, for the message.
        rows: (rows, channels) of numbers.
        dtype: ``float32`` or ``float16``.

    Returns:
        (rows, channels) in that dtype, contiguous.

    Raises:
        InputError: It is no array of rows, is refused by :func:`check_values`, or holds a number
            beyond the dtype.
    """
    check_shape(where, rows.shape)
    with np.errstate(over='ignore'):
        check_values(where, rows.astype(np.float32, copy=False))
        converted = np.ascontiguousarray(rows, DTYPES[dtype])
    beyond = ~np.isfinite(converted).all(1)
    if beyond.any():
        bad = int(beyond.argmax())
        raise InputError(
            f'{where}: found {np.abs(rows[bad]).max():g} in row {bad}, expected at most '
            f'{np.finfo(dtype).max:g} in {dtype}; use a wider dtype or extract it again'
        )
    return converted
