"""A training step at the size of a config: ours and the padded one."""

import logging
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import Tensor

from reloclnet_mm.models import dropout, layers
from reloclnet_mm.models.reloclnet import ReLoCLNet
from reloclnet_mm.profiling.harness import Subject, Workload, random_lengths
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample


def step(
    config: Path, batch_size: int, mean_clips: float, *, bfloat16: bool, padded: bool, device: str
) -> Workload:
    """A step on one batch of random features: pack, forward, backward, update.

    Args:
        config: Whose model and optimizer.
        batch_size: Queries, each with a video of its own.
        mean_clips: Of the videos.
        bfloat16: Compute in bfloat16 where autocast does.
        padded: As the authors' program: all videos padded to the maximum, torch's dropout.
        device: Of the model; the features come from the CPU.
    """
    MMLogger.get_instance('benchmark', log_level=logging.WARNING)
    cfg = Config.fromfile(config)
    if padded:
        cfg.model.padding = 'official'
        cfg.model.data_preprocessor.pad_clips_to = cfg.model.max_clips
        layers.drop = dropout.drop = torch_drop
    if bfloat16:
        cfg.optim_wrapper.type = 'Bfloat16OptimWrapper'
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(cfg.model).to(device)
        model.init_weights()
        wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)
    batch = random_batch(cfg.model, batch_size, mean_clips)
    return partial(_work, model, batch, wrapper, device)


def _work(model: ReLoCLNet, batch: dict, wrapper: object, device: str) -> None:
    model.train_step(batch, wrapper)
    if device != 'cpu':
        torch.cuda.synchronize()


def torch_drop(
    x: Tensor, probability: float, residual: Tensor | None = None, *, inplace: bool = False
) -> Tensor:
    """:func:`~reloclnet_mm.models.dropout.drop` with torch's random numbers."""
    dropped = F.dropout(x, probability, inplace=inplace)
    return dropped if residual is None else dropped + residual


def random_batch(model: Config, batch_size: int, mean_clips: float) -> dict:
    """What a dataloader yields, with random features.

    Args:
        model: Config of the model that takes them.
        batch_size: Samples.
        mean_clips: Of the videos; queries have half as many tokens as the model takes.
    """
    generator = torch.Generator().manual_seed(0)
    clips = random_lengths(batch_size, mean_clips, model.max_clips, generator)
    tokens = random_lengths(
        batch_size, model.max_query_tokens / 2, model.max_query_tokens, generator
    )
    widths = [('query', model.query_channels, tokens)]
    widths += [(name, width, clips) for name, width in model.streams.items()]
    return dict(
        inputs={
            name: [torch.randn(rows, width, generator=generator) for rows in lengths]
            for name, width, lengths in widths
        },
        data_samples=[
            MomentDataSample(metainfo=dict(video_id=i), gt_span=torch.tensor([0, rows - 1]))
            for i, rows in enumerate(clips)
        ],
    )


def step_gflop(config: Path, batch_size: int, mean_clips: float) -> float:
    """Of the linear maps of a step over valid rows, forward and backward, no gradient of inputs.

    The first map needs the gradient of its input too, for the LayerNorm before it.
    """
    model = Config.fromfile(config).model
    batch = random_batch(model, batch_size, mean_clips)['inputs']
    clips = sum(len(x) for x in next(iter(v for n, v in batch.items() if n != 'query')))
    tokens = sum(len(x) for x in batch['query'])
    d, streams = model.embed_dims, len(model.streams)
    # Blocks have four maps each; crosswise attention three.
    maps = 3 * 4 + (3 if streams == 2 else 0)
    forward = clips * d * (sum(model.streams.values()) + streams * maps * d)
    forward += tokens * d * (model.query_channels + 2 * 4 * d)
    # Similarity of all queries with all clips: level 2, level 3 and the mapped queries.
    forward += 3 * streams * clips * batch_size * d
    return 3 * 2 * forward / 1e9


def subjects(
    config: Path, batch_size: int, mean_clips: float, *, bfloat16: bool, device: str
) -> list[Subject]:
    """Ours and the padded step."""
    common = dict(config=config, batch_size=batch_size, mean_clips=mean_clips, device=device)
    return [
        Subject('ours', step, dict(common, bfloat16=bfloat16, padded=False)),
        Subject('padded', step, dict(common, bfloat16=False, padded=True)),
    ]
