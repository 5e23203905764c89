"""A training step at the size of a config: ours, the padded one, and its products alone."""

import logging
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from reloclnet_mm.profiling.harness import Subject, Workload, random_lengths
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample


def step(
    config: Path, batch_size: int, mean_clips: float, *, bfloat16: bool, padded: bool, device: str
) -> Workload:
    """Prepare a step on one batch of random features: pack, forward, backward, update.

    Args:
        config: Config with a model and an optimizer.
        batch_size: Number of queries, each with a video of its own.
        mean_clips: Mean number of clips of a video.
        bfloat16: Whether to compute in bfloat16 where autocast does.
        padded: Whether all videos are padded to the maximum, as the authors' program does.
        device: Device of the model; the features come from the CPU.
    """
    MMLogger.get_instance('benchmark', log_level=logging.WARNING)
    cfg = Config.fromfile(config)
    if padded:
        cfg.model.padding = 'official'
        cfg.model.data_preprocessor.pad_clips_to = cfg.model.context_encoder.max_clips
    if bfloat16:
        cfg.optim_wrapper.type = 'Bfloat16OptimWrapper'
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(cfg.model).to(device)
        model.init_weights()
        wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)
    batch = random_batch(cfg.model, batch_size, mean_clips)

    def work() -> None:
        model.train_step(batch, wrapper)
        if device != 'cpu':
            torch.cuda.synchronize()

    return work


def random_batch(model: Config, batch_size: int, mean_clips: float) -> dict:
    """Make what a dataloader yields, with random features.

    Args:
        model: Config of the model that takes them.
        batch_size: Number of samples.
        mean_clips: Mean number of clips of a video; queries have half as many tokens as the model
            takes.
    """
    generator = torch.Generator().manual_seed(0)
    clips = random_lengths(batch_size, mean_clips, model.context_encoder.max_clips, generator)
    most = model.query_encoder.max_tokens
    tokens = random_lengths(batch_size, most / 2, most, generator)
    widths = [('query', model.query_channels, tokens)]
    widths += [(name, width, clips) for name, width in model.streams.items()]
    return dict(
        inputs={
            name: [torch.randn(rows, width, generator=generator) for rows in lengths]
            for name, width, lengths in widths
        },
        data_samples=[
            MomentDataSample(metainfo=dict(video_id=i), gt_span=np.array([0, rows - 1]))
            for i, rows in enumerate(clips)
        ],
    )


class Factor(NamedTuple):
    """How a matrix that is multiplied lies in memory."""

    size: tuple[int, ...]
    stride: tuple[int, ...]


class Products(TorchDispatchMode):
    """Count the matrix products that are made inside its context, forward and backward.

    Products of linear maps and similarities count; the batched ones within attention do not.

    Attributes:
        found: The two factors of each product to how often they were met.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[Factor, Factor]] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Note an operation and run it."""
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.found[tuple(Factor(x.shape, x.stride()) for x in args[-2:])] += 1
        return func(*args, **(kwargs or {}))

    @property
    def gflop(self) -> float:
        """Billions of multiplications and additions of all products."""
        each = ((2 * a.size[0] * a.size[1] * b.size[1], n) for (a, b), n in self.found.items())
        return sum(flop * times for flop, times in each) / 1e9


def products_of_step(config: Path, batch_size: int, mean_clips: float) -> Products:
    """Run a step in float32 and return its products; arguments as :func:`step`."""
    work = step(config, batch_size, mean_clips, bfloat16=False, padded=False, device='cpu')
    with Products() as products:
        work()
    return products


def products_alone(config: Path, batch_size: int, mean_clips: float) -> Workload:
    """Prepare the products of a step, on random matrices of the same shapes."""
    found = products_of_step(config, batch_size, mean_clips).found
    matrices = {factor: _random(factor) for pair in found for factor in pair}

    def work() -> None:
        for (a, b), times in found.items():
            for _ in range(times):
                torch.mm(matrices[a], matrices[b])

    return work


def _random(factor: Factor) -> Tensor:
    return torch.empty_strided(factor.size, factor.stride).normal_()


def subjects(
    config: Path, batch_size: int, mean_clips: float, *, bfloat16: bool, device: str
) -> list[Subject]:
    """Return our step, the padded step and, on a CPU, the products alone."""
    sizes = dict(config=config, batch_size=batch_size, mean_clips=mean_clips)
    steps = partial(dict, sizes, device=device)
    found = [
        Subject('ours', step, steps(bfloat16=bfloat16, padded=False)),
        Subject('padded', step, steps(bfloat16=False, padded=True)),
    ]
    return found + [Subject('products alone', products_alone, sizes)] * (device == 'cpu')
