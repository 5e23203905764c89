"""Work that is done while other work goes on."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar('Item')


def made_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, of which a thread makes the next while the caller works on one.

    No more than one waits, so that the memory does not grow where the caller is slow. What is
    raised while an item is made reaches the caller in its place. The thread ends with the items, or
    when this generator is closed.

    Args:
        items: Read in the thread.
    """
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = thread.submit(next, iterator, end)
        while (item := waiting.result()) is not end:
            waiting = thread.submit(next, iterator, end)
            yield item
