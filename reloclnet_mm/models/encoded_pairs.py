"""A training batch, encoded, on one rank or gathered from all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, all_gather_object, broadcast, get_rank, get_world_size
from torch import Tensor
from torch.autograd.function import FunctionCtx

from reloclnet_mm.models.encoders import ContextLevels
from reloclnet_mm.structures.packed_rows import RowLayout


@dataclass(frozen=True)
class EncodedPairs:
    """A batch of B queries and their own videos, encoded.

    Attributes:
        queries: Stream name to (B, d).
        contexts: Stream name to the three levels (R, d).
        layout: Of the R rows of clips.
        places: (B,) int64, each query's video in the layout.
    """

    queries: dict[str, Tensor]
    contexts: ContextLevels
    layout: RowLayout
    places: Tensor

    def level(self, number: Literal[1, 2, 3]) -> dict[str, Tensor]:
        """Stream name to (R, d) of one level, float32."""
        return {name: levels[number - 1].float() for name, levels in self.contexts.items()}


def gather_pairs(pairs: EncodedPairs) -> EncodedPairs:
    """The batches of all ranks as one, in the order of the ranks.

    A video that several ranks have stands there several times; what is read at ``places`` is the
    same as if it stood there once.

    Args:
        pairs: This rank's.
    """
    names = list(pairs.queries)
    queries = gather_rows(torch.cat(list(pairs.queries.values()), 1)).chunk(len(names), 1)
    levels = [level.float() for stream in pairs.contexts.values() for level in stream]
    clips = gather_rows(torch.cat(levels, 1)).chunk(len(levels), 1)
    layouts = all_gather_object(pairs.layout.to('cpu'))
    first = sum(len(layout) for layout in layouts[: get_rank()])
    return EncodedPairs(
        dict(zip(names, queries, strict=True)),
        {name: tuple(clips[3 * i : 3 * i + 3]) for i, name in enumerate(pairs.contexts)},
        RowLayout.concatenate(layouts).to(pairs.places.device),
        gather_rows(pairs.places + first),
    )


def gather_rows(x: Tensor) -> Tensor:
    """The rows of all ranks, with gradients.

    Every rank computes the same loss L of all rows. The gradient that a rank's own rows get is
    world size · ∂L/∂x, so that the mean over ranks, which DistributedDataParallel takes, is ∂L/∂θ
    for parameters before the rows (each rank adds its rows' part) and behind them (all ranks have
    the whole) alike.

    Args:
        x: (R, …), of this rank; ranks may have unequally many rows.

    Returns:
        (sum of R, …), in the order of the ranks.
    """
    sizes = torch.cat(all_gather(torch.tensor([len(x)], device=x.device))).tolist()
    return _GatherRows.apply(x, sizes)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, sizes: list[int]) -> Tensor:
        ctx.first, ctx.size = sum(sizes[: get_rank()]), len(x)
        padding = (0, 0) * (x.dim() - 1) + (0, max(sizes) - len(x))
        gathered = all_gather(F.pad(x, padding).contiguous())
        return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return get_world_size() * gradient[ctx.first : ctx.first + ctx.size], None


@contextmanager
def same_draws_on_all_ranks(device: torch.device) -> Iterator[None]:
    """Let random numbers be the same on all ranks, as a loss that all of them compute needs.

    Args:
        device: Where they are drawn.
    """
    seed = torch.randint(2**31, (1,), device=device)
    broadcast(seed)
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        torch.manual_seed(int(seed))
        yield
