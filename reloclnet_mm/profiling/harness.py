"""Measuring subjects side by side, each in a process of its own."""

import math
import pickle
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Workload = Callable[[], Any]
"""Does the work once; what it returns is not measured."""


@dataclass(frozen=True)
class Subject:
    """Something to measure.

    Attributes:
        name: For tables.
        make: Prepares the work and returns it; a function at a module's top level.
        settings: Keyword arguments of ``make``.
    """

    name: str
    make: Callable[..., Workload]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """How long a subject took.

    Attributes:
        name: The subject's.
        seconds: Of each trial.
        peak_rss_mb: The most memory that its process held at any time, preparation included.
        result: What the last trial returned.
    """

    name: str
    seconds: tuple[float, ...]
    peak_rss_mb: float
    result: Any

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent of the trials stay within."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return dict(
            name=self.name,
            median_s=self.median,
            least_s=min(self.seconds),
            most_s=max(self.seconds),
            trials=len(self.seconds),
            peak_rss_mb=self.peak_rss_mb,
        )


def measure(
    subjects: list[Subject], *, trials: int, warm_ups: int = 1, threads: int | None = None
) -> list[Timing]:
    """Time subjects in turn, so that what else a machine does meets all alike.

    Each has a process of its own, so that the memory of one is not counted with another's; no two
    work at once.

    Args:
        subjects: What to measure.
        trials: How often, each.
        warm_ups: Runs before that do not count.
        threads: Of torch in each process; None: torch's choice.
    """
    context = get_context('spawn')
    running: list[tuple[Subject, BaseProcess, Connection]] = []
    try:
        for subject in subjects:
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(subject, there, threads))
            process.start()
            there.close()
            running.append((subject, process, here))
            _answer(subject, here)
        return _take_turns(running, trials, warm_ups)
    finally:
        for _, process, _ in running:
            process.terminate()
            process.join()


def _take_turns(
    running: list[tuple[Subject, BaseProcess, Connection]], trials: int, warm_ups: int
) -> list[Timing]:
    seconds: dict[str, list[float]] = {subject.name: [] for subject, _, _ in running}
    for trial in range(warm_ups + trials):
        for subject, _, here in running:
            here.send('run')
            elapsed = _answer(subject, here)
            if trial >= warm_ups:
                seconds[subject.name].append(elapsed)
    timings = []
    for subject, _, here in running:
        here.send('stop')
        peak, result = _answer(subject, here)
        timings.append(
            Timing(subject.name, tuple(seconds[subject.name]), peak, pickle.loads(result))
        )
    return timings


def _answer(subject: Subject, here: Connection) -> Any:
    try:
        return here.recv()
    except EOFError:
        raise RuntimeError(
            f'benchmark: the process of {subject.name!r} ended; what it printed above says why '
            '(no message: the system may have stopped it for want of memory)'
        ) from None


def _serve(subject: Subject, pipe: Connection, threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
    work = subject.make(**subject.settings)
    pipe.send('ready')
    result = None
    while pipe.recv() == 'run':
        begin = time.perf_counter()
        result = work()
        elapsed = time.perf_counter() - begin
        pipe.send(elapsed)
    # By value: tensors would be shared, and gone with this process.
    pipe.send((peak_rss_mb(), pickle.dumps(result)))


def peak_rss_mb() -> float:
    """The most memory that this process held at any time, in megabytes."""
    status = Path('/proc/self/status')
    if status.exists():
        # On Linux getrusage's maximum is inherited from the parent; this one is not.
        peak = re.search(r'^VmHWM:\s+(\d+) kB$', status.read_text(), re.MULTILINE)
        if peak is not None:
            return int(peak[1]) * 1024 / 1e6
    per_unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * per_unit / 1e6


def multiplication(dtype: torch.dtype) -> Workload:
    """A product of matrices as a training step has them, for the machine's rate."""
    rows, width, out = MULTIPLICATION_SIZES
    x, weight = torch.randn(rows, width).to(dtype), torch.randn(out, width).to(dtype)

    def work() -> None:
        torch.nn.functional.linear(x, weight)

    return work


MULTIPLICATION_SIZES = (6400, 3072, 384)
"""Rows, input and output width."""

MULTIPLICATION_GFLOP = 2 * math.prod(MULTIPLICATION_SIZES) / 1e9


def gemm_rates(threads: int | None) -> dict[str, float]:
    """GFLOP/s at which the machine multiplies matrices, by dtype."""
    dtypes = dict(float32=torch.float32, bfloat16=torch.bfloat16)
    subjects = [Subject(name, multiplication, dict(dtype=dtype)) for name, dtype in dtypes.items()]
    timings = measure(subjects, trials=9, warm_ups=2, threads=threads)
    return {timing.name: MULTIPLICATION_GFLOP / timing.median for timing in timings}


def random_lengths(count: int, mean: float, longest: int, generator: torch.Generator) -> list[int]:
    """Lengths around a mean, none longer than ``longest``.

    Args:
        count: How many.
        mean: Their mean; the standard deviation is a third of it.
        longest: The most.
        generator: Of the random numbers.
    """
    drawn = torch.randn(count, generator=generator) * mean / 3 + mean
    return drawn.round().clamp(min(5, longest), longest).long().tolist()


def random_streams(
    rows: int, widths: dict[str, int], generator: torch.Generator
) -> dict[str, Tensor]:
    """Stream name to (rows, width) of normal numbers."""
    return {name: torch.randn(rows, width, generator=generator) for name, width in widths.items()}
