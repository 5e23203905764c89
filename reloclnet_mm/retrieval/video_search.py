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

from reloclnet_mm.retrieval.int8_scan import MAX_QUERIES, Int8Rows, Int8Scores
from reloclnet_mm.retrieval.similarity import inverse_norm
from reloclnet_mm.structures import EncodedCorpus, RowLayout

# Rows and queries of a block of scores: large enough for products at full speed, small enough to
# stay in the cache of a CPU. On two cores without AVX-512, blocks of 4,096 rows multiply a fifth
# faster than blocks of 1,024.
_ROWS_AT_ONCE = {'cpu': 4096, 'cuda': 2**17}
_QUERIES_AT_ONCE = 512


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

    For a few queries on a CPU, all clips are scored in int8 first, and only those that may matter
    by the bound of int8 in float32: the lists are the same.

    Args:
        corpus: The encoded videos; their ``retrieval`` rows are scored.
    """

    def __init__(self, corpus: EncodedCorpus) -> None:
        self.layout = corpus.layout
        self.rows = corpus.rows['retrieval']
        self.inverse_norms = {name: inverse_norm(x) for name, x in self.rows.items()}
        self._blocks = list(_blocks_of(self.layout, _ROWS_AT_ONCE[corpus.device.type]))
        self._can_read_int8 = Int8Rows.can_read(self.rows)

    @torch.no_grad()
    def search(self, queries: Mapping[str, Tensor], k: int) -> tuple[Tensor, Tensor]:
        """Find the best videos; see :meth:`VideoSearch.search`."""
        units = {name: F.normalize(queries[name], dim=1) for name in self.rows}
        k = min(k, len(self.layout))
        few = len(next(iter(units.values()))) <= MAX_QUERIES
        if few and k < len(self.layout) and self._can_read_int8:
            scores = self._scores_of_candidates(units, k)
        else:
            scores = self.scores(units)
        best, places = scores.topk(k, dim=1)
        return best, places

    @torch.no_grad()
    def scores(self, units: Mapping[str, Tensor]) -> Tensor:
        """Score all videos in float32.

        Clips times queries, not queries times clips: the maximum over the clips of a video then
        runs over a middle axis, with queries beside each other in memory.

        Args:
            units: Stream name to (Q, d), unit vectors.

        Returns:
            (Q, N).
        """
        count, device = len(next(iter(units.values()))), next(iter(units.values())).device
        total = torch.zeros(len(self.layout), count, device=device)
        space = torch.empty(
            max((block.rows.stop - block.rows.start for block in self._blocks), default=0)
            * min(count, _QUERIES_AT_ONCE),
            device=device,
        )
        for name, x in units.items():
            parts = [part.T.contiguous() for part in x.split(_QUERIES_AT_ONCE)]
            for block in self._blocks:
                clips = self.rows[name][block.rows] * self.inverse_norms[name][block.rows, None]
                for part, columns in zip(parts, total.split(_QUERIES_AT_ONCE, 1), strict=True):
                    shape = len(clips), part.shape[1]
                    products = space[: math.prod(shape)].view(shape)
                    torch.mm(clips, part, out=products)
                    block.add_largest(products, columns)
        return total.T / len(units)

    @cached_property
    def _int8_rows(self) -> dict[str, Int8Rows]:
        return {name: Int8Rows(x) for name, x in self.rows.items()}

    @cached_property
    def _first_rows(self) -> np.ndarray:
        return self.layout.first_rows.numpy()

    @cached_property
    def _padding(self) -> Tensor | None:
        """(R,) bool, true where a row is no valid clip; None where all are."""
        layout = self.layout
        padding = layout.positions >= layout.lengths.repeat_interleave(layout.rows_of_each)
        return padding if padding.any() else None

    def _scores_of_candidates(self, units: Mapping[str, Tensor], k: int) -> Tensor:
        """Score (Q, N) in float32 all videos that may be among the best; −∞ for the others."""
        scored = zip(*(self._int8_rows[name].score(x) for name, x in units.items()), strict=True)
        rows = []
        for i, found in enumerate(scored):
            streams = [
                self._scan(name, units[name][i], int8)
                for name, int8 in zip(units, found, strict=True)
            ]
            rows.append(self._candidates(streams, k))
        return torch.stack(rows)

    def _scan(self, name: str, unit: Tensor, int8: Int8Scores) -> '_Scan':
        if self._padding is not None:
            int8.values.masked_fill_(self._padding, -math.inf)
        largest = torch.from_numpy(np.maximum.reduceat(int8.values.numpy(), self._first_rows))
        return _Scan(unit, *int8, largest, self.rows[name], self.inverse_norms[name])

    def _candidates(self, scans: list['_Scan'], k: int) -> Tensor:
        """Score (N,) in float32 all videos that may be among the best; −∞ for the others.

        The K best by int8 are scored first. A video is not among the best if the highest score that
        it may have is below the least of these.
        """
        largest = torch.stack([scan.largest for scan in scans]).mean(0)
        bound = sum(scan.bound for scan in scans) / len(scans)
        scores = torch.full_like(largest, -math.inf)
        first = largest.topk(k).indices
        scores[first] = exact = self._exact_scores(scans, first)
        possible = largest >= exact.min() - bound
        possible[first] = False
        others = possible.nonzero().squeeze(1)
        if len(others) > len(largest) // 2:
            return self.scores(
                {name: x.unit[None] for name, x in zip(self.rows, scans, strict=True)}
            )[0]
        if len(others):
            scores[others] = self._exact_scores(scans, others)
        return scores

    def _exact_scores(self, scans: list['_Scan'], places: Tensor) -> Tensor:
        """Score (V,) videos in float32; only clips are read that may be the largest of theirs."""
        rows, owner = self.layout.rows_of(places)
        total = torch.zeros(len(places))
        for scan in scans:
            least = scan.largest[places] - 2 * scan.bound
            may_be = (scan.values[rows] >= least[owner]).nonzero().squeeze(1)
            chosen = rows[may_be]
            products = scan.clips.index_select(0, chosen) @ scan.unit
            products *= scan.inverse_norms[chosen]
            largest = torch.full_like(total, -math.inf)
            total += largest.scatter_reduce_(0, owner[may_be], products, 'amax')
        return total / len(scans)


class _Scan(NamedTuple):
    """One query against one stream of a corpus.

    Attributes:
        unit: (d,), the query.
        values: (R,), scores of clips in int8.
        bound: How far a score may be from that in float32.
        largest: (N,), the largest score in int8 of each video.
        clips: (R, d), the stream in float32.
        inverse_norms: (R,), factors that make unit vectors of it.
    """

    unit: Tensor
    values: Tensor
    bound: float
    largest: Tensor
    clips: Tensor
    inverse_norms: Tensor


class _Part(NamedTuple):
    """Videos of equal length in a block: their places, their rows in it, and these as a matrix."""

    videos: slice
    rows: slice
    shape: tuple[int, int]
    mask: Tensor | None


class _Block(NamedTuple):
    """Neighbouring rows of a corpus, of whole videos."""

    rows: slice
    parts: list[_Part]

    def add_largest(self, products: Tensor, total: Tensor) -> None:
        """Add the largest of (rows, Q) in each video to (N, Q)."""
        for videos, rows, shape, mask in self.parts:
            part = products[rows].unflatten(0, shape)
            if mask is not None:
                part.masked_fill_(~mask[..., None], -math.inf)
            total[videos] += part.amax(1)


def _blocks_of(layout: RowLayout, rows_at_once: int) -> Iterator[_Block]:
    """Divide a layout into blocks of so many rows, or of one video that has more."""
    parts: list[_Part] = []
    video = first = last = 0
    for (count, num_rows), mask in zip(layout.blocks, layout.masks, strict=True):
        begin = 0
        while begin < count:
            room = (first + rows_at_once - last) // num_rows
            if not room and parts:
                yield _Block(slice(first, last), parts)
                parts, first = [], last
                continue
            size = min(max(room, 1), count - begin)
            rows = slice(last - first, last - first + size * num_rows)
            chosen = None if mask is None else mask[begin : begin + size]
            parts.append(_Part(slice(video, video + size), rows, (size, num_rows), chosen))
            video, last, begin = video + size, last + size * num_rows, begin + size
    yield _Block(slice(first, last), parts)
