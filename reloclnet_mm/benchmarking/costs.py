"""What a model costs: size, work, speed and memory.

Times are of one process with nothing to wait for: features are in memory before a clock starts.
"""

import dataclasses
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from reloclnet_mm.engine.loops.corpus_loops import CorpusLoopMixin
from reloclnet_mm.models.second_stage import SecondStage
from reloclnet_mm.retrieval.moment_search import VideoPairs
from reloclnet_mm.retrieval.pair_scores import EncodedWords, PairScores
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.structures import MomentDataSample, RowLayout

ENCODED_VIDEOS = 500
"""Most videos whose encoding is timed; they are spread evenly over the corpus."""

TIMED_QUERIES = 200
_WARM_UPS, _TRIALS, _COUNTED_QUERIES = 20, 3, 20


def measure_costs(
    model: nn.Module, loop: CorpusLoopMixin, index: CorpusIndex, hours: float
) -> dict[str, float]:
    """Measure a model that ranks a corpus.

    Args:
        model: The model, without a wrapper.
        loop: The test loop that ran.
        index: The corpus that it ranked.
        hours: Hours of the corpus.

    Returns:
        ``parameters``, ``flops_per_video``, ``flops_per_query``, ``passes_per_query``,
        ``videos_per_s``, ``hours_per_hour``, ``index_bytes_per_hour``, ``latency_p50_ms``,
        ``latency_p99_ms`` and, of one thread without a GPU, ``cpu_share``.
    """
    model.eval()
    queries = one_by_one(loop.dataloader, TIMED_QUERIES)
    return dict(
        parameters=count_parameters(model),
        **encoding_costs(model, loop.corpus_dataloader),
        **query_costs(model, queries, index),
        # Last, for the first queries make what the search keeps.
        index_bytes_per_hour=held_bytes(index, without=nn.Module) / hours,
    )


def count_parameters(model: nn.Module) -> int:
    """Count the numbers that training can change."""
    return sum(parameter.numel() for parameter in model.parameters())


def encoding_costs(model: nn.Module, loader: DataLoader) -> dict[str, float]:
    """Time the encoding of videos whose features are in memory, in batches of the loader's size.

    Args:
        model: The model.
        loader: Loader of the corpus.

    Returns:
        ``videos_per_s``, ``hours_per_hour`` of video, and ``flops_per_video``, the mean.
    """
    chosen = spread(len(loader.dataset), ENCODED_VIDEOS)
    parts = [chosen[i : i + loader.batch_size] for i in range(0, len(chosen), loader.batch_size)]
    batches = [loader.collate_fn([loader.dataset[i] for i in part]) for part in parts]
    durations = [sample.duration for batch in batches for sample in batch['data_samples']]
    with counting_flops() as counter:
        model.encode_corpus(batches)
    seconds = statistics.median(
        _seconds_of(lambda: model.encode_corpus(batches)) for _ in range(_TRIALS)
    )
    return dict(
        flops_per_video=counter.get_total_flops() / len(chosen),
        videos_per_s=len(chosen) / seconds,
        hours_per_hour=sum(durations) / seconds,
    )


def one_by_one(loader: DataLoader, count: int) -> list[dict[str, Any]]:
    """Load queries, each as a batch of its own that does not know the query's video.

    Args:
        loader: Loader of the queries.
        count: How many; they are spread evenly, and repeated where there are fewer.
    """
    chosen = spread(len(loader.dataset), count)
    batches = []
    for i in chosen:
        sample = loader.dataset[i]
        sample['data_samples'] = MomentDataSample(metainfo=dict(query_id=f'query {i}'))
        batches.append(loader.collate_fn([sample]))
    return [batches[i % len(batches)] for i in range(count)]


def query_costs(
    model: nn.Module, queries: Sequence[dict[str, Any]], index: CorpusIndex
) -> dict[str, float]:
    """Time queries one at a time, from features in memory to ranked moments of the corpus.

    Returns:
        ``latency_p50_ms``, ``latency_p99_ms``, ``flops_per_query`` and ``passes_per_query``, means,
        and, of one thread without a GPU, ``cpu_share``, the seconds of a core that it got for each
        second. Several threads wait for each other even where nothing else runs, and a GPU is
        waited for.
    """

    def ask(query: dict[str, Any]) -> None:
        with torch.no_grad():
            model.test_step({**query, 'corpus': index})

    for query in queries[:_WARM_UPS]:
        ask(query)
    used = time.process_time()
    seconds = [_seconds_of(lambda query=query: ask(query)) for query in queries]
    used = time.process_time() - used
    counted = queries[:_COUNTED_QUERIES]
    with counting_flops() as counter, counting_passes(model) as passes:
        for query in counted:
            ask(query)
    p50, p99 = np.percentile(seconds, [50, 99]).tolist()
    costs = dict(
        latency_p50_ms=1e3 * p50,
        latency_p99_ms=1e3 * p99,
        flops_per_query=counter.get_total_flops() / len(counted),
        passes_per_query=sum(passes) / len(counted),
    )
    if torch.get_num_threads() == 1 and not torch.cuda.is_available():
        costs['cpu_share'] = used / sum(seconds)
    return costs


def counting_flops() -> FlopCounterMode:
    """Count the FLOPs of matrix products, convolutions and attention; others are not counted."""
    aten = torch.ops.aten
    # torch knows attention on a GPU, and not under the name that it has on a CPU.
    own = {
        aten._weight_int8pack_mm: _flops_of_int8_product,
        aten._scaled_dot_product_flash_attention_for_cpu: _flops_of_attention,
    }
    return FlopCounterMode(display=False, custom_mapping=own)


def _flops_of_int8_product(
    x_shape: Sequence[int], weight_shape: Sequence[int], *_: Any, **__: Any
) -> int:
    """(Q, d) by (R, d): a multiplication and an addition for each of Q · R · d."""
    return 2 * x_shape[0] * x_shape[1] * weight_shape[0]


def _flops_of_attention(
    query_shape: Sequence[int],
    key_shape: Sequence[int],
    value_shape: Sequence[int],
    *_: Any,
    **__: Any,
) -> int:
    """(B, heads, L, d) each: the products of queries and keys, and of weights and values."""
    return sdpa_flop_count(query_shape, key_shape, value_shape)


@contextmanager
def counting_passes(model: nn.Module) -> Iterator[list[int]]:
    """Count the pairs of a query and a video that a second stage scores, a number for each call.

    Args:
        model: The model; one without a second stage scores none.
    """
    counts: list[int] = []
    for stage in model.modules():
        if isinstance(stage, SecondStage):
            break
    else:
        yield counts
        return
    score_pairs = stage.score_pairs

    def counted(
        words: EncodedWords, rows: Mapping[str, Tensor], layout: RowLayout, pairs: VideoPairs
    ) -> PairScores:
        counts.append(len(pairs.videos))
        return score_pairs(words, rows, layout, pairs)

    stage.score_pairs = counted
    try:
        yield counts
    finally:
        del stage.score_pairs


def held_bytes(held: Any, without: type) -> int:
    """Count the bytes of all tensors and arrays that an object holds, each memory once.

    Args:
        held: Any object; attributes, lists, tuples and dicts are followed.
        without: Kind of objects that are not followed.
    """
    return sum(dict(_memories(held, without, set())).values())


def _memories(held: Any, without: type, seen: set[int]) -> Iterator[tuple[int, int]]:
    if id(held) in seen or isinstance(held, without):
        return
    seen.add(id(held))
    if isinstance(held, Tensor):
        storage = held.untyped_storage()
        yield storage.data_ptr(), storage.nbytes()
    elif isinstance(held, np.ndarray):
        whole = held
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        yield whole.__array_interface__['data'][0], whole.nbytes
    elif isinstance(held, dict):
        for inner in held.values():
            yield from _memories(inner, without, seen)
    elif isinstance(held, list | tuple):
        for inner in held:
            yield from _memories(inner, without, seen)
    elif dataclasses.is_dataclass(held) or type(held).__module__.startswith('reloclnet_mm'):
        yield from _memories(vars(held), without, seen)


def spread(total: int, count: int) -> list[int]:
    """Choose at most ``count`` of ``total`` places at equal distances."""
    return np.unique(np.linspace(0, total - 1, min(total, count)).round().astype(int)).tolist()


def _seconds_of(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def peak_gpu_memory() -> dict[str, float]:
    """Return ``peak_gpu_memory_mb``, of torch's tensors in this process; nothing without a GPU."""
    if not torch.cuda.is_available():
        return {}
    return dict(peak_gpu_memory_mb=torch.cuda.max_memory_allocated() / 1e6)


def describe_machine() -> dict[str, Any]:
    """Name the processor, its cores, the device that models run on, and the versions."""
    info = Path('/proc/cpuinfo')
    named = re.search(r'^model name\s*: (.*)$', info.read_text(), re.M) if info.exists() else None
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(
        cpu=named[1] if named else platform.processor() or platform.machine(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        device=gpu or 'CPU',
        system=platform.platform(),
        torch=torch.__version__,
    )
