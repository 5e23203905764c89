"""Queries with some videos each, computed video by video.

Letters of shapes: P pairs of a query and a video, Q queries, L clips, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reloclnet_mm.structures.packed_rows import RowLayout


@dataclass(frozen=True)
class VideoPairs:
    """Pairs of a query and a video, sorted by video.

    As a corpus is sorted by length, so are the videos of the pairs.

    Attributes:
        queries: (P,) int64.
        videos: (P,) int64, places in the corpus, ascending.
    """

    queries: Tensor
    videos: Tensor

    AT_ONCE: ClassVar[int] = 2048

    def __len__(self) -> int:
        return len(self.videos)

    def chunks(self) -> Iterator['VideoPairs']:
        """The pairs, so many at a time that intermediate results stay small."""
        parts = zip(self.queries.split(self.AT_ONCE), self.videos.split(self.AT_ONCE), strict=True)
        for queries, videos in parts:
            if len(videos):  # no pairs split into one part of none
                yield VideoPairs(queries, videos)

    def longest(self, layout: RowLayout) -> int:
        """The most rows that one of the videos takes."""
        return int(layout.rows_of_each[self.videos].max())

    def rows(self, layout: RowLayout) -> tuple[Tensor, Tensor]:
        """The rows of the pairs' videos, as :meth:`RowLayout.pad`, padded to the longest."""
        return layout.pad(self.videos, self.longest(layout))


def pair_products(
    queries: Tensor, clips: Sequence[Tensor], pairs: VideoPairs, length: int
) -> Tensor:
    """Inner products of each pair's query with the clips of its video.

    Args:
        queries: (Q, D).
        clips: Of each video of the corpus (rows, D).
        pairs: P pairs.
        length: L, no smaller than the rows of any of the videos.

    Returns:
        (P, L), 0 beyond the rows of a video.
    """
    products = queries.new_zeros(len(pairs), length)
    videos, counts = pairs.videos.unique_consecutive(return_counts=True)
    chosen = queries.index_select(0, pairs.queries)
    first = 0
    for video, count in zip(videos.tolist(), counts.tolist(), strict=True):
        x = clips[video]
        last = first + count
        torch.mm(chosen[first:last], x.T, out=products[first:last, : len(x)])
        first = last
    return products
