"""What the command-line tools share."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from reloclnet_mm.errors import InputError


@contextmanager
def input_errors_end_the_program() -> Iterator[None]:
    """Turn an :class:`~reloclnet_mm.errors.InputError` into one message and exit status 1.

    A data-loading worker hands its error over with a traceback as text; only the message is kept.
    """
    try:
        yield
    except InputError as e:
        sys.exit('error: ' + str(e).rsplit('InputError: ', 1)[-1].strip())
