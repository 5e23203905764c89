"""Showing how far a long computation is."""

import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar('T')
_SECONDS_BETWEEN_LINES = 5.0


def progress(items: Collection[T], unit: str) -> Iterator[T]:
    """Yield the items and show on standard error how many are done.

    Args:
        items: What is worked on.
        unit: What an item is, in the plural, such as ``videos``.
    """
    with counted(len(items), unit) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def counted(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show on standard error how much of a computation is done.

    On a terminal this is a bar; elsewhere it is a line every few seconds and one at the end.

    Args:
        total: Number of units in all.
        unit: What is counted, in the plural, such as ``videos``.

    Yields:
        A function to call with the number of units done since the last call.
    """
    if not sys.stderr.isatty():
        yield from _lines(total, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), unit, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(unit, total=total)
        yield lambda step: bar.advance(task, step)


def _lines(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    done, last = 0, time.monotonic()

    def advance(step: int) -> None:
        nonlocal done, last
        done += step
        if done >= total or time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f'{done:,} of {total:,} {unit}', file=sys.stderr, flush=True)

    yield advance
