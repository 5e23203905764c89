"""The best videos of a corpus for each query.

Letters of shapes: Q queries, N videos, R rows of their clips, d width, K best videos.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reloclnet_mm.structures import EncodedCorpus, RowLayout

# Rows times queries of a block of scores: small enough for a CPU's cache, large enough to keep a
# GPU busy.
_BLOCK = {'cpu': 2**19, 'cuda': 2**26}
_QUERIES_AT_ONCE = 512
_INT8_LEVELS = 127
# Half the spacing of bfloat16 numbers, relative to the rounded number.
_BFLOAT16_ROUNDING = 2**-8 / (1 - 2**-8)


class VideoSearch(ABC):
    """Finds the best videos by the mean over streams of the largest cosine over a video's clips."""

    @abstractmethod
    def search(self, queries: Mapping[str, Tensor], k: int) -> tuple[Tensor, Tensor]:
        """Find the best videos of each query.

        Args:
            queries: Stream name to (Q, d).
            k: Number of videos; all where the corpus has fewer.

        Returns:
            Scores (Q, K), descending, and places (Q, K) int64 of the videos in the corpus.
        """


class ExactVideoSearch(VideoSearch):
    """Scores every video in float32.

    A single query on a CPU costs what reading the corpus costs. So it is read in int8 first, and
    only what may be among the best by a bound of the rounding is scored in float32: the lists are
    the same. (109,000 clips of two streams of width 384 on two cores without AVX-512: 8 to 10 ms
    in int8, 52 ms in float32.)

    Args:
        corpus: The encoded videos; their ``retrieval`` rows are scored.
    """

    def __init__(self, corpus: EncodedCorpus) -> None:
        self.layout = corpus.layout
        self.rows = corpus.rows['retrieval']
        self.inverse_norms = {name: inverse_norm(x) for name, x in self.rows.items()}
        self._reads_int8 = hasattr(torch, '_weight_int8pack_mm') and all(
            # The product reads 16 numbers at once, beyond the end of rows of another width.
            x.device.type == 'cpu' and x.shape[1] % 16 == 0
            for x in self.rows.values()
        )

    def search(self, queries: Mapping[str, Tensor], k: int) -> tuple[Tensor, Tensor]:
        """Find the best videos; see :meth:`VideoSearch.search`."""
        units = {name: F.normalize(queries[name], dim=1) for name in self.rows}
        k = min(k, len(self.layout))
        if self._reads_int8 and k < len(self.layout) and len(next(iter(units.values()))) == 1:
            scores = self._candidate_scores(units, k)
        else:
            scores = self.scores(units)
        return tuple(scores.topk(k, dim=1))

    def scores(self, units: Mapping[str, Tensor]) -> Tensor:
        """Score all videos in float32.

        Args:
            units: Stream name to (Q, d), unit vectors.

        Returns:
            (Q, N).
        """
        total = torch.zeros(len(self.layout), len(next(iter(units.values()))), device=self.device)
        for name, x in units.items():
            _add_largest(total, x, self.rows[name], self.inverse_norms[name], self.layout)
        return total.T / len(units)

    @property
    def device(self) -> torch.device:
        """Device of the rows."""
        return next(iter(self.rows.values())).device

    @cached_property
    def _int8_rows(self) -> dict[str, '_Int8Rows']:
        return {name: to_int8(x, self.inverse_norms[name]) for name, x in self.rows.items()}

    @cached_property
    def _first_rows(self) -> np.ndarray:
        return self.layout.first_rows.numpy()

    @cached_property
    def _padding(self) -> Tensor | None:
        """(R,) bool, true where a row is no valid clip; None where all are."""
        masks = zip(self.layout.masks, self.layout.blocks, strict=True)
        valid = [
            torch.ones(block.count * block.num_rows, dtype=torch.bool) if m is None else m.flatten()
            for m, block in masks
        ]
        padding = ~torch.cat(valid)
        return padding if padding.any() else None

    def _candidate_scores(self, units: Mapping[str, Tensor], k: int) -> Tensor:
        """Score (1, N) in float32 every video that may be among the best; −inf for the others.

        The best by the highest score that a video may have come first. No video whose highest
        possible score is below the least of these can be among the best.
        """
        scans = {name: self._scan(x, name) for name, x in units.items()}
        highest = sum(scan.highest for scan in scans.values()) / len(scans)
        scores = torch.full_like(highest, -math.inf)
        first = highest.topk(k).indices
        scores[first] = self._exact_scores(scans, first)
        possible = highest >= scores[first].min()
        possible[first] = False
        others = possible.nonzero().squeeze(1)
        if len(others) > len(self.layout) // 2:
            return self.scores(units)
        if len(others):
            scores[others] = self._exact_scores(scans, others)
        return scores[None]

    def _scan(self, units: Tensor, stream: str) -> '_Scan':
        """Score all clips of a stream in int8; see :class:`_Scan`."""
        clips = self._int8_rows[stream]
        rounded = units.bfloat16()
        scores = torch._weight_int8pack_mm(rounded, clips.values, clips.scales)[0].float()
        # By Cauchy and Schwarz: the query's rounding times a clip, the query times a clip's
        # rounding. Then the rounding of the result, and of the sums here and in float32.
        of_query = float(torch.linalg.vector_norm(rounded.float() - units))
        bound = of_query * (1 + clips.error) + clips.error
        low, high = scores.aminmax()
        bound += _BFLOAT16_ROUNDING * float(max(-low, high))
        bound += 2 * units.shape[1] * torch.finfo(torch.float32).eps
        if self._padding is not None:
            scores.masked_fill_(self._padding, -math.inf)
        largest = torch.from_numpy(np.maximum.reduceat(scores.numpy(), self._first_rows))
        return _Scan(
            units[0], scores, largest, bound, self.rows[stream], self.inverse_norms[stream]
        )

    def _exact_scores(self, scans: Mapping[str, '_Scan'], places: Tensor) -> Tensor:
        """Score (V,) videos in float32; only clips are read that may be the largest of theirs."""
        rows, video = self.layout.rows_of(places)
        total = torch.zeros(len(places))
        for scan in scans.values():
            least = scan.largest[places] - 2 * scan.bound
            may_be = (scan.scores[rows] >= least[video]).nonzero().squeeze(1)
            chosen = rows[may_be]
            products = (scan.clips.index_select(0, chosen) @ scan.unit) * scan.inverse_norms[chosen]
            largest = torch.full_like(total, -math.inf)
            total += largest.scatter_reduce_(0, video[may_be], products, 'amax')
        return total / len(scans)


class _Scan(NamedTuple):
    """One query against one stream of a corpus.

    Attributes:
        unit: (d,), the query.
        scores: (R,), of clips, in int8.
        largest: (N,), of videos.
        bound: How far a score may be from that in float32.
        clips: (R, d), the stream in float32.
        inverse_norms: (R,), of it.
    """

    unit: Tensor
    scores: Tensor
    largest: Tensor
    bound: float
    clips: Tensor
    inverse_norms: Tensor

    @property
    def highest(self) -> Tensor:
        """(N,), the highest score that a video may have in float32."""
        return self.largest + self.bound


class _Int8Rows(NamedTuple):
    """Unit vectors in int8.

    Attributes:
        values: (R, d) int8, in steps of ``scales``.
        scales: (R,) bfloat16.
        error: The largest distance of a row from the unit vector that it represents.
    """

    values: Tensor
    scales: Tensor
    error: float


def inverse_norm(x: Tensor) -> Tensor:
    """Compute (R,) factors that make unit vectors of the rows of (R, d), as ``F.normalize``."""
    return torch.linalg.vector_norm(x, dim=1).clamp(min=1e-12).reciprocal()


def to_int8(x: Tensor, inverse_norms: Tensor) -> _Int8Rows:
    """Round the unit vectors of the rows of (R, d) to int8, each row in steps of its own."""
    values = torch.empty(x.shape, dtype=torch.int8)
    scales = torch.empty(len(x), dtype=torch.bfloat16)
    error = 0.0
    # Some rows at a time keep what is computed on the way small.
    parts = (tensor.split(8192) for tensor in (values, x, inverse_norms, scales))
    for rows, part, scale, steps in zip(*parts, strict=True):
        unit = part * scale[:, None]
        steps.copy_(unit.abs().amax(1).clamp(min=1e-30) / _INT8_LEVELS)
        step = steps.float()[:, None]
        # bfloat16 may have rounded a step down.
        rows.copy_((unit / step).round().clamp(-_INT8_LEVELS, _INT8_LEVELS))
        error = max(error, float(torch.linalg.vector_norm(rows * step - unit, dim=1).max()))
    return _Int8Rows(values, scales, error)


def _add_largest(
    total: Tensor, units: Tensor, clips: Tensor, inverse_norms: Tensor, layout: RowLayout
) -> None:
    """Add the largest cosine over the clips of each video to ``total``, (N, Q).

    Clips times queries, not queries times clips: the maximum over the clips of a video then runs
    over a middle axis, with queries beside each other in memory.
    """
    for begin in range(0, len(units), _QUERIES_AT_ONCE):
        chosen = slice(begin, begin + _QUERIES_AT_ONCE)
        transposed = units[chosen].T.contiguous()
        for videos, rows, shape, mask in _row_blocks(layout, transposed.shape[1], clips.device):
            products = (clips[rows] @ transposed).mul_(inverse_norms[rows, None])
            products = products.unflatten(0, shape)
            if mask is not None:
                products.masked_fill_(~mask[..., None], -math.inf)
            total[videos, chosen] += products.amax(1)


def _row_blocks(
    layout: RowLayout, num_queries: int, device: torch.device
) -> Iterator[tuple[slice, slice, tuple[int, int], Tensor | None]]:
    """Videos of equal length, no more at a time than a block of scores has room for.

    Yields:
        Their places, their rows, (how many, rows of each), and the mask of :class:`RowLayout`.
    """
    first_video = first_row = 0
    for (count, num_rows), mask in zip(layout.blocks, layout.masks, strict=True):
        step = max(_BLOCK[device.type] // (num_rows * num_queries), 1)
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
