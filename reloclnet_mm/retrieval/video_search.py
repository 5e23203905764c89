"""The best videos of a corpus for each query.

Scores are scanned for in few bits, with a bound of what rounding can do; every video that may be
among the best is then scored in float32. So the lists are those of float32 throughout.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reloclnet_mm.retrieval.index import CoarseClips, CorpusIndex
from reloclnet_mm.retrieval.pairs import VideoPairs, pair_products
from reloclnet_mm.structures.packed_rows import RowLayout

# Half the spacing of bfloat16 numbers, relative to the rounded number.
_BFLOAT16_ROUNDING = 2**-8 / (1 - 2**-8)
# Rows times queries of a block of scores: small enough for a CPU's cache, large enough to keep a
# GPU busy.
_BLOCK = {'cpu': 2**19, 'cuda': 2**26}
_QUERIES_AT_ONCE = 512


def best_videos(
    queries: Mapping[str, Tensor], index: CorpusIndex, num_videos: int
) -> tuple[Tensor, Tensor]:
    """The best videos by the mean over streams of the largest cosine over a video's clips.

    Args:
        queries: Stream name to (Q, d).
        index: The corpus of N videos.
        num_videos: K; all videos where the corpus has fewer.

    Returns:
        Scores (Q, K), descending, and places (Q, K) of the videos in the corpus.
    """
    units = {name: F.normalize(x, dim=1) for name, x in queries.items()}
    num_queries = len(next(iter(units.values())))
    num_videos = min(num_videos, len(index))
    if index.coarse_dtype == 'float32' or num_videos == len(index):
        scores = scan_float32(units, index)
    # The kernel for int8 reads 16 numbers at once, beyond the end of rows of another width.
    elif num_queries == 1 and all(x.shape[1] % 16 == 0 for x in units.values()):
        scores = _rescan_one(units, index, num_videos)
    else:
        scores = _rescan(units, index, num_videos)
    return tuple(scores.topk(num_videos, dim=1))


def scan_float32(units: Mapping[str, Tensor], index: CorpusIndex) -> Tensor:
    """Scores (Q, N) of all videos, in float32.

    Args:
        units: Stream name to (Q, d), unit vectors.
        index: The corpus.
    """
    layout = index.corpus.layout
    largest = [
        _largest_products(x, index.streams[name], index.inverse_norms[name], layout)
        for name, x in units.items()
    ]
    return torch.stack(largest).mean(0)


def scan_bfloat16(units: Mapping[str, Tensor], index: CorpusIndex) -> tuple[Tensor, Tensor]:
    """Scores of all videos from products in bfloat16.

    Args:
        units: Stream name to (Q, d), unit vectors.
        index: The corpus.

    Returns:
        Scores (Q, N) and how far they may be from those in float32, (Q, N).
    """
    scores, bounds = [], []
    for name, x in units.items():
        clips = index.bfloat16_clips[name]
        rounded = x.bfloat16()
        largest = _largest_products(rounded, clips.values, None, index.corpus.layout)
        scores.append(largest)
        bounds.append(product_bound(x, rounded, clips)[:, None] + rounding_bound(largest))
    return torch.stack(scores).mean(0), torch.stack(bounds).mean(0)


def rounding_bound(rounded: Tensor) -> Tensor:
    """How far numbers may be from what was rounded to them in bfloat16."""
    return rounded.abs() * _BFLOAT16_ROUNDING


def product_bound(units: Tensor, rounded: Tensor, clips: CoarseClips) -> Tensor:
    """How far products of coarse vectors may be from those that they stand for.

    q̂·x̂ − q·x = (q̂ − q)·x̂ + q·(x̂ − x), each at most the product of its norms (Cauchy–Schwarz).
    A last term covers the rounding of the sums, here and in float32.

    Args:
        units: (Q, d), q.
        rounded: (Q, d), q̂.
        clips: x̂, with the largest ‖x̂ − x‖.

    Returns:
        (Q,), over all clips.
    """
    of_queries = torch.linalg.vector_norm(rounded.float() - units, dim=1)
    sums = 2 * units.shape[1] * torch.finfo(torch.float32).eps
    return of_queries * (1 + clips.error) + clips.error + sums


def _largest_products(
    queries: Tensor, clips: Tensor, scales: Tensor | None, layout: RowLayout
) -> Tensor:
    """(Q, N) float32, max over the clips of a video of their products with a query.

    Args:
        queries: (Q, d).
        clips: (R, d).
        scales: (R,), factors of the rows; None: 1.
        layout: Of the R rows.
    """
    best = torch.empty(len(layout), len(queries), device=queries.device)
    for columns in torch.arange(len(queries)).split(_QUERIES_AT_ONCE):
        chosen = slice(int(columns[0]), int(columns[-1]) + 1)
        transposed = queries[chosen].T.contiguous()
        for videos, rows, shape, mask in _row_blocks(layout, len(columns), queries.device.type):
            products = clips[rows] @ transposed
            if scales is not None:
                products *= scales[rows, None]
            products = products.unflatten(0, shape)
            if mask is not None:
                products.masked_fill_(~mask[..., None], -math.inf)
            best[videos, chosen] = products.amax(1).float()
    return best.T.contiguous()


def _row_blocks(
    layout: RowLayout, num_queries: int, device: str
) -> Iterator[tuple[slice, slice, tuple[int, int], Tensor | None]]:
    """Videos of equal length, no more at a time than a block of scores has room for.

    Yields:
        Their places, their rows, (how many, rows of each), and the mask of :class:`RowLayout`.
    """
    first_video = first_row = 0
    for (count, num_rows), mask in zip(layout.blocks, layout.masks, strict=True):
        step = max(_BLOCK[device] // (num_rows * num_queries), 1)
        for begin in range(0, count, step):
            size = min(step, count - begin)
            video, row = first_video + begin, first_row + begin * num_rows
            yield (
                slice(video, video + size),
                slice(row, row + size * num_rows),
                (size, num_rows),
                None if mask is None else mask[begin : begin + size],
            )
        first_video += count
        first_row += count * num_rows


def _rescan(units: Mapping[str, Tensor], index: CorpusIndex, num_videos: int) -> Tensor:
    """Scores (Q, N) in float32 of every video that may be among the best; −inf for the others.

    First those of the best by coarse scores: no video whose coarse score and bound together stay
    below the least of these can be among the best.
    """
    coarse, bound = scan_bfloat16(units, index)
    scores = torch.full_like(coarse, -math.inf)
    first = torch.zeros_like(coarse, dtype=torch.bool)
    first.scatter_(1, coarse.topk(num_videos, dim=1).indices, True)
    _score_where(first, scores, units, index)
    least = scores.masked_fill(~first, math.inf).amin(1, keepdim=True)
    others = (coarse + bound >= least) & ~first
    if others.sum() > others.numel() // 2:
        return scan_float32(units, index)
    _score_where(others, scores, units, index)
    return scores


def _score_where(
    chosen: Tensor, scores: Tensor, units: Mapping[str, Tensor], index: CorpusIndex
) -> None:
    pairs = VideoPairs.where(chosen)
    scores[pairs.queries, pairs.videos] = score_pairs(units, index, pairs)


def may_be_among_best(scores: Tensor, bound: Tensor, num_videos: int) -> Tensor:
    """Which videos may be among the best by exact scores.

    K videos have exact scores of at least the K-th largest lower bound, so a video below that
    cannot be among the best K.

    Args:
        scores: (Q, N).
        bound: (Q, N), the largest difference of an exact score.
        num_videos: K.

    Returns:
        (Q, N) bool.
    """
    threshold = (scores - bound).topk(num_videos, dim=1).values[:, -1:]
    return scores + bound >= threshold


def score_pairs(units: Mapping[str, Tensor], index: CorpusIndex, pairs: VideoPairs) -> Tensor:
    """Scores (P,) in float32 of some queries with some videos.

    Args:
        units: Stream name to (Q, d), unit vectors.
        index: The corpus.
        pairs: P pairs.
    """
    scores = []
    for chunk in pairs.chunks():
        rows, mask = chunk.rows(index.corpus.layout)
        largest = []
        for name, x in units.items():
            products = pair_products(x, index.stream_clips_of_videos[name], chunk, rows.shape[1])
            products *= index.inverse_norms[name][rows]
            largest.append(products.masked_fill_(~mask, -math.inf).amax(1))
        scores.append(torch.stack(largest).mean(0))
    return torch.cat(scores) if scores else index.corpus.features.new_empty(0)


def _rescan_one(units: Mapping[str, Tensor], index: CorpusIndex, num_videos: int) -> Tensor:
    """:func:`_rescan` of a single query, in int8, and clip by clip.

    A single query has to read the whole corpus, so its price is the size of it; in float32 only
    clips are read that may be the largest of their video.
    """
    scans = [_scan_int8(x, index, name) for name, x in units.items()]
    coarse = torch.stack([scan.largest for scan in scans]).mean(0)
    bound = sum(scan.bound for scan in scans) / len(scans)
    scores = torch.full_like(coarse, -math.inf)
    first = coarse.topk(num_videos).indices
    scores[first] = _score_clips(scans, index, first, -math.inf)
    least = scores[first].min()
    others = ((coarse + bound >= least) & (scores == -math.inf)).nonzero().squeeze(1)
    if len(others):
        scores[others] = _score_clips(scans, index, others, least)
    return scores[None]


class _Int8Scan(NamedTuple):
    """One query against one stream of a corpus.

    Attributes:
        unit: (d,), the query.
        scores: (R,), of clips.
        largest: (N,), of videos.
        bound: How far a score may be from that in float32.
        clips: (R, d), the stream in float32.
        inverse_norms: (R,), of it.
    """

    unit: Tensor
    scores: Tensor
    largest: Tensor
    bound: Tensor
    clips: Tensor
    inverse_norms: Tensor


def _scan_int8(unit: Tensor, index: CorpusIndex, stream: str) -> _Int8Scan:
    clips = index.int8_clips[stream]
    rounded = unit.bfloat16()
    scores = torch._weight_int8pack_mm(rounded, clips.values, clips.scales)[0].float()
    bound = (
        product_bound(unit, rounded, clips) + rounding_bound(torch.stack(scores.aminmax())).max()
    )
    if index.padding_rows is not None:
        scores.masked_fill_(index.padding_rows, -math.inf)
    largest = torch.from_numpy(np.maximum.reduceat(scores.numpy(), index.first_rows))
    return _Int8Scan(
        unit[0], scores, largest, bound, index.streams[stream], index.inverse_norms[stream]
    )


def _score_clips(
    scans: list[_Int8Scan], index: CorpusIndex, places: Tensor, least: Tensor | float
) -> Tensor:
    """Scores (V,) in float32 of some videos; those below ``least`` may come out lower.

    Only clips are read that may be the largest of their video and may, if the other streams are as
    high as they can be, bring it to ``least``.

    Args:
        scans: Of each stream.
        index: The corpus.
        places: (V,) int64.
        least: Scores below do not matter.
    """
    layout = index.corpus.layout
    rows, _ = layout.pad(places, int(layout.rows_of_each[places].max()))
    highest = torch.stack([scan.largest[places] + scan.bound for scan in scans])
    needed = len(scans) * least - (highest.sum(0) - highest)
    exact = []
    for scan, top, low in zip(scans, highest, needed, strict=True):
        threshold = torch.maximum(top - 2 * scan.bound, low) - scan.bound
        video, position = (scan.scores[rows] >= threshold[:, None]).nonzero(as_tuple=True)
        chosen = rows[video, position]
        products = (scan.clips[chosen] @ scan.unit) * scan.inverse_norms[chosen]
        largest = torch.full_like(top, -math.inf)
        exact.append(largest.scatter_reduce_(0, video, products, 'amax'))
    return torch.stack(exact).mean(0)
