"""A training batch, encoded, in one process or gathered from all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, all_gather_object, broadcast, get_rank, get_world_size
from torch import Tensor
from torch.autograd.function import FunctionCtx

from reloclnet_mm.structures import RowLayout
from reloclnet_mm.structures.corpus import map_rows


@dataclass(frozen=True)
class EncodedPairs:
    """A batch of B queries and their own videos, encoded.

    Attributes:
        queries: Stream name to (B, d), and what else the model encodes of a query.
        rows: Name of a row set to stream name to (R, d), float32; see
            :meth:`~reloclnet_mm.models.base.CorpusRetriever.encode_context`.
        layout: Layout of the R rows of clips.
        places: (B,) int64, the place of each query's video in the layout.
    """

    queries: dict[str, Tensor]
    rows: Mapping[str, Mapping[str, Tensor]]
    layout: RowLayout
    places: Tensor


def gather_pairs(pairs: EncodedPairs) -> EncodedPairs:
    """Join the batches of all processes, in the order of the processes.

    A video that several processes have is there several times; what is read at ``places`` is the
    same as if it were there once.

    Args:
        pairs: The batch of this process.
    """
    names = list(pairs.queries)
    widths = [x.shape[1] for x in pairs.queries.values()]
    queries = gather_rows(torch.cat(list(pairs.queries.values()), 1)).split(widths, 1)
    layouts = all_gather_object(pairs.layout.to('cpu'))
    first = sum(len(layout) for layout in layouts[: get_rank()])
    return EncodedPairs(
        dict(zip(names, queries, strict=True)),
        map_rows(pairs.rows, gather_rows),
        RowLayout.concatenate(layouts).to(pairs.places.device),
        gather_rows(pairs.places + first),
    )


def gather_rows(x: Tensor) -> Tensor:
    """Join the rows of all processes, with gradients.

    Every process computes the same loss L of all rows. The gradient that its own rows get is
    world size · ∂L/∂x, so that the mean over processes, which DistributedDataParallel takes, is
    ∂L/∂θ for parameters before the rows (each process adds the part of its rows) and behind them
    (all processes have the whole) alike.

    Args:
        x: (R, …), of this process; others may have another R.

    Returns:
        (sum of R, …), in the order of the processes.
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
def same_draws_in_all_processes(device: torch.device) -> Iterator[None]:
    """Draw the same random numbers in all processes, as a loss that all of them compute needs.

    Args:
        device: The device whose generator draws.
    """
    seed = torch.randint(2**31, (1,), device=device)
    broadcast(seed)
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        torch.manual_seed(int(seed))
        yield
