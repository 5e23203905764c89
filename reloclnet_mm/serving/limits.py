"""How many requests a client may send."""

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from http import HTTPStatus

from fastapi import HTTPException, Request

from reloclnet_mm.errors import InputError


class SlidingWindow:
    """Admits so many requests of a client within any span of time.

    What it remembers is bounded: a client that was silent for the span is forgotten. Not safe to
    call from two threads at once.

    Args:
        limit: Requests of one client.
        seconds: Length of the span.
        clock: Returns seconds that never go back.

    Raises:
        InputError: The limit is below 1.
    """

    def __init__(
        self, limit: int, *, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if limit < 1:
            raise InputError(f'limit of {limit} requests, expected at least 1')
        self.limit = limit
        self.seconds = seconds
        self._clock = clock
        # Of each client the times of what was admitted; the client admitted last is at the end.
        self._admitted: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """How many clients are remembered."""
        return len(self._admitted)

    def wait(self, client: str) -> float:
        """Admit a request, or return the seconds after which the next one is admitted.

        Args:
            client: Who asks.

        Returns:
            0 for an admitted request.
        """
        now = self._clock()
        self._forget_silent(now)
        times = self._admitted.setdefault(client, deque())
        while times and times[0] <= now - self.seconds:
            times.popleft()
        if len(times) >= self.limit:
            return times[0] + self.seconds - now
        times.append(now)
        self._admitted.move_to_end(client)
        return 0.0

    def _forget_silent(self, now: float) -> None:
        while self._admitted:
            client, times = next(iter(self._admitted.items()))
            if times[-1] > now - self.seconds:
                return
            del self._admitted[client]


def limited(window: SlidingWindow) -> Callable[[Request], Coroutine[None, None, None]]:
    """Return a dependency of FastAPI that refuses a client's requests beyond a limit.

    Args:
        window: Counts the requests.
    """

    # A coroutine runs on the event loop: the window needs no lock, and a refusal takes no thread.
    async def admit(request: Request) -> None:
        seconds = math.ceil(window.wait(request.client.host if request.client else ''))
        if seconds:
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS,
                f'more than {window.limit} such requests in {window.seconds:g} seconds; '
                f'wait {seconds} s',
                headers={'Retry-After': str(seconds)},
            )

    return admit
