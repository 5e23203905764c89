"""Log lines by iterations and by time."""

import time
from typing import Any

from mmengine.hooks import LoggerHook

from reloclnet_mm.registry import HOOKS


@HOOKS.register_module()
class ProgressLoggerHook(LoggerHook):
    """Logs every so many iterations, and after every so many seconds.

    Args:
        interval: Number of iterations from one line to the next.
        seconds: Longest time between lines, if iterations are shorter.
        **kwargs: Passed to mmengine's LoggerHook.
    """

    def __init__(self, interval: int = 50, seconds: float = 10.0, **kwargs: Any) -> None:
        super().__init__(interval, **kwargs)
        self.seconds = seconds
        self._last_line = time.monotonic()

    def every_n_inner_iters(self, inner_iter: int, n: int) -> bool:
        """Return whether a line is due, for training, validation and test."""
        now = time.monotonic()
        due = super().every_n_inner_iters(inner_iter, n) or now - self._last_line >= self.seconds
        if due:
            self._last_line = now
        return due
