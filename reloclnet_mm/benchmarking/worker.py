"""Evaluating one entry, in a process of its own so that its memory is its own."""

import math
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from reloclnet_mm.benchmarking.costs import (
    count_parameters,
    describe_machine,
    measure_costs,
    peak_gpu_memory,
)
from reloclnet_mm.benchmarking.entries import Entry
from reloclnet_mm.benchmarking.lists import ListWriter, writing_lists
from reloclnet_mm.engine.hooks import CheckpointCheckHook
from reloclnet_mm.engine.loops.corpus_loops import CorpusLoopMixin
from reloclnet_mm.errors import InputError
from reloclnet_mm.models.corpus_model import CorpusModel
from reloclnet_mm.profiling.harness import peak_rss_mb
from reloclnet_mm.utils.cli import build_runner, read_config, run_parser
from reloclnet_mm.utils.config_checks import building_errors_are_input_errors
from reloclnet_mm.utils.models import bare_model

LISTS = 'lists.npz'


@dataclass(frozen=True)
class Job:
    """An entry to evaluate.

    Attributes:
        entry: Config and checkpoint.
        folder: Where its files go.
        hours: Hours of the corpus.
        threads: Number of torch's threads; None: torch's choice.
    """

    entry: Entry
    folder: Path
    hours: float
    threads: int | None


def config_of(entry: Entry) -> Config:
    """Read the config of an entry as the tools do."""
    options = ['--cfg-options', *entry.options] if entry.options else []
    return read_config(run_parser('').parse_args([str(entry.path), *options]))


def work(job: Job, pipe: Connection) -> None:
    """Evaluate in a new process; tell through a pipe how far it is, and then what it found.

    Sends ``('queries', count)`` after each batch, and at the end ``('record', dict)``,
    ``('input error', text)`` or ``('failed', text)``.
    """
    warnings.filterwarnings('ignore')
    try:
        pipe.send(('record', evaluate(job, lambda count: pipe.send(('queries', count)))))
    except InputError as error:
        pipe.send(('input error', str(error)))
    except KeyboardInterrupt:
        pass  # the parent got it too, and says so
    except Exception:
        pipe.send(('failed', traceback.format_exc()))


def evaluate(job: Job, advance: Callable[[int], None]) -> dict[str, Any]:
    """Test an entry as ``tools/test.py`` does, keep its lists, and measure its costs.

    Args:
        job: What to evaluate.
        advance: Called with the number of queries of each batch.

    Returns:
        ``limits``, see :func:`limits_of`; ``metrics``, what its own evaluator reports; ``costs``;
        and ``machine``.
    """
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    cfg = config_of(job.entry)
    cfg.work_dir = str(job.folder / 'log')
    cfg.load_from = None if job.entry.checkpoint is None else str(job.entry.checkpoint)
    cfg.log_level = 'ERROR'
    cfg.visualizer = dict(type='Visualizer')
    # mmaction2's config of DRN shuffles its test, and its results do not name their queries.
    sampler = cfg.test_dataloader.sampler
    if sampler.get('shuffle'):
        sampler.shuffle = False
    runner = build_runner(cfg)
    watch = _Watch(advance)
    runner.register_hook(watch)
    if not any(isinstance(hook, CheckpointCheckHook) for hook in runner.hooks):
        runner.register_hook(CheckpointCheckHook())
    with building_errors_are_input_errors(cfg), writing_lists(job.folder / LISTS) as file:
        runner.test_loop.evaluator.metrics.append(ListWriter(file))
        metrics = runner.test()
    # Before the costs are measured, whose own data is in memory.
    peaks = dict(peak_memory_mb=peak_rss_mb(), **peak_gpu_memory())
    model = bare_model(runner.model)
    costs = dict(parameters=count_parameters(model))
    if isinstance(runner.test_loop, CorpusLoopMixin):
        costs = measure_costs(model, runner.test_loop, watch.corpus, job.hours)
    return dict(
        limits=limits_of(model),
        metrics={name: float(x) if math.isfinite(x) else None for name, x in metrics.items()},
        costs=costs | peaks,
        machine=describe_machine(),
    )


def limits_of(model: nn.Module) -> dict[str, int]:
    """Return how many answers of each task a model is asked for; empty if it is not of ours."""
    if not isinstance(model, CorpusModel):
        return {}
    moments = model.ranking.num_moments
    return dict(VR=model.ranking.num_videos, SVMR=moments, VCMR=moments)


class _Watch(Hook):
    """Tells how far a test is, and keeps the corpus that it ranks."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.advance = advance
        self.corpus = None

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.advance(len(outputs))
        self.corpus = getattr(runner.test_loop, 'corpus', None)
