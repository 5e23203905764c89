"""Measure subjects side by side, each in a process of its own."""

import io
import math
import re
import resource
import statistics
import sys
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reloclnet_mm.engine.optimizers.bfloat16 import cpu_capabilities, multiplies_bfloat16

Workload = Callable[[], Any]
"""Do the work once; what it returns is not measured."""


@dataclass(frozen=True)
class Subject:
    """Name something to measure.

    Attributes:
        name: Name in tables.
        make: Function at the top level of a module that prepares the work and returns it.
        settings: Keyword arguments of ``make``.
    """

    name: str
    make: Callable[..., Workload]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """Say how long a subject took.

    Attributes:
        name: Name of the subject.
        seconds: Seconds of each trial.
        peak_rss_mb: Largest memory of its process at any time, in MB, preparation included.
        result: What the last trial returned: tensors, numbers and texts, in dicts and lists.
    """

    name: str
    seconds: tuple[float, ...]
    peak_rss_mb: float
    result: Any

    @property
    def median(self) -> float:
        """Return the median of the trials, in seconds."""
        return self.percentile(50)

    def percentile(self, percent: float) -> float:
        """Return the seconds that so many percent of the trials take at most."""
        return float(np.percentile(self.seconds, percent))

    def as_record(self) -> dict[str, Any]:
        """Return what is written to JSON."""
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
    """Time subjects in turn, so that other load on the machine slows all of them alike.

    Each has a process of its own, so that the memory of one is not counted with another's; no two
    work at once.

    Args:
        subjects: What to measure.
        trials: Number of runs of each that count.
        warm_ups: Number of runs before, which do not count.
        threads: Number of torch's threads in each process; None: torch's choice.

    Raises:
        RuntimeError: The process of a subject ended.
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
        result = torch.load(io.BytesIO(result), weights_only=True)
        timings.append(Timing(subject.name, tuple(seconds[subject.name]), peak, result))
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
    # The pipe would share the memory of tensors, which ends with this process.
    saved = io.BytesIO()
    torch.save(result, saved)
    pipe.send((peak_rss_mb(), saved.getvalue()))


def memory_mb(entry: str, process: int | str) -> float:
    """Read from Linux how much memory a process holds, in megabytes; NaN: it does not say.

    Args:
        entry: Name of the amount: ``VmRSS``, held in RAM now, or ``VmHWM``, at most so far.
        process: Number of the process, or ``'self'``.
    """
    status = Path(f'/proc/{process}/status')
    found = None
    if status.exists():
        found = re.search(rf'^{entry}:\s+(\d+) kB$', status.read_text(), re.MULTILINE)
    return math.nan if found is None else int(found[1]) * 1024 / 1e6


def peak_rss_mb() -> float:
    """Return the most memory that this process held at any time, in megabytes."""
    # On Linux getrusage's maximum is inherited from the parent; this one is not.
    peak = memory_mb('VmHWM', 'self')
    if not math.isnan(peak):
        return peak
    per_unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * per_unit / 1e6


MULTIPLICATION_SIZES = (6400, 3072, 384)
"""Rows, input width and output width of a linear map as a training step has it."""

COPIED_BYTES = 2**28
"""Size of what is copied, larger than the caches of a CPU."""


@dataclass(frozen=True)
class MachineRates:
    """Say how fast a machine is.

    Attributes:
        gflop_per_s: Name of a dtype to billions of multiplications and additions a second.
        copied_gb_per_s: Bytes read and written a second in a large copy, in billions.
    """

    gflop_per_s: dict[str, float]
    copied_gb_per_s: float


def machine_rates(threads: int | None) -> MachineRates:
    """Measure products of matrices and a large copy in this process.

    bfloat16 is measured where the processor multiplies it; elsewhere torch imitates it.

    Args:
        threads: As in :func:`measure`.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    dtypes = [torch.float32]
    if multiplies_bfloat16(cpu_capabilities()):
        dtypes.append(torch.bfloat16)
    rows, width, out = MULTIPLICATION_SIZES
    rates = {}
    for dtype in dtypes:
        x, weight = torch.randn(rows, width).to(dtype), torch.randn(out, width).to(dtype)
        seconds = _median_seconds(partial(torch.nn.functional.linear, x, weight))
        rates[str(dtype).removeprefix('torch.')] = 2 * rows * width * out / seconds / 1e9
    source = torch.ones(COPIED_BYTES // 4)
    copied = _median_seconds(partial(torch.zeros_like(source).copy_, source))
    return MachineRates(rates, 2 * COPIED_BYTES / copied / 1e9)


def _median_seconds(work: Workload) -> float:
    for _ in range(2):
        work()
    return statistics.median(timeit.repeat(work, number=1, repeat=9))


def random_lengths(count: int, mean: float, longest: int, generator: torch.Generator) -> list[int]:
    """Draw lengths around a mean, none longer than ``longest``.

    Args:
        count: Number of lengths.
        mean: Mean of the lengths; the standard deviation is a third of it.
        longest: Largest length.
        generator: Source of the random numbers.
    """
    drawn = torch.randn(count, generator=generator) * mean / 3 + mean
    return drawn.round().clamp(min(5, longest), longest).long().tolist()


def random_streams(
    rows: int, widths: dict[str, int], generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw normal numbers: stream name to (rows, width)."""
    return {name: torch.randn(rows, width, generator=generator) for name, width in widths.items()}
