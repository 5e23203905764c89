"""The best moments in videos of a corpus for encoded queries.

Letters of shapes: Q queries, V videos searched for each, P pairs of the two, L clips, d width, K
best moments.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from reloclnet_mm.retrieval.pairs import VideoPairs, pair_products
from reloclnet_mm.structures import EncodedCorpus


class SpanHead(Protocol):
    """What predicts spans: a module of :mod:`reloclnet_mm.models.span_heads`."""

    reach: int

    def map_queries(self, queries: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map query vectors (Q, d) of each stream."""

    def __call__(
        self, similarity: Mapping[str, Tensor], clip_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute start and end logits (P, L) from the similarity (P, L) of each stream."""


@dataclass(frozen=True)
class SpanRange:
    """Which spans may be answered, and how many of them.

    A span (i, j) goes from the begin of clip i to the begin of clip j. A video of too few clips
    for any has one span, from its begin to its end.

    Attributes:
        min_span: Smallest j − i of a span (i, j) in clips.
        max_span: Smallest j − i that is too long.
        num_moments: K.
    """

    min_span: int
    max_span: int
    num_moments: int


@dataclass(frozen=True)
class RankedMoments:
    """The best moments of each query.

    Attributes:
        scores: (Q, K), descending; −1 where a query has no more moments.
        places: (Q, K) int64, the moments' videos in the corpus.
        spans: (Q, K, 2) int64, in clips.
    """

    scores: Tensor
    places: Tensor
    spans: Tensor

    def __getitem__(self, chosen: slice | Tensor) -> 'RankedMoments':
        """Take those of some queries."""
        return RankedMoments(self.scores[chosen], self.places[chosen], self.spans[chosen])

    @staticmethod
    def cat(parts: Sequence['RankedMoments']) -> 'RankedMoments':
        """Join those of several blocks of queries, one after another."""
        return RankedMoments(
            torch.cat([part.scores for part in parts]),
            torch.cat([part.places for part in parts]),
            torch.cat([part.spans for part in parts]),
        )

    @staticmethod
    def none(count: int, num_moments: int, device: torch.device) -> 'RankedMoments':
        """Make empty lists of ``count`` queries."""
        places = torch.zeros((count, num_moments), dtype=torch.long, device=device)
        return RankedMoments(
            torch.full((count, num_moments), -1.0, device=device),
            places,
            torch.stack([places, places], 2),
        )


class MomentSearch:
    """Finds moments in chosen videos of a corpus.

    Args:
        corpus: The encoded videos; spans are predicted from their ``localization`` rows.
        span_head: Predicts start and end.
    """

    def __init__(self, corpus: EncodedCorpus, span_head: SpanHead) -> None:
        self.layout = corpus.layout
        self.rows = corpus.rows['localization']
        self.span_head = span_head

    @cached_property
    def _rows_by_video(self) -> dict[str, tuple[Tensor, ...]]:
        counts = self.layout.rows_of_each.tolist()
        return {name: x.split(counts) for name, x in self.rows.items()}

    def rank(
        self, queries: Mapping[str, Tensor], places: Tensor, weights: Tensor, spans: SpanRange
    ) -> RankedMoments:
        """Rank the moments of some videos of each query together.

        The score of a moment (i, j) is weight · p_st[i] · p_ed[j]. The best span from each start is
        found first. K starts have spans at least as good as the K-th best of these, so the best K
        spans begin at the best K starts, and only from there all ends are tried.

        Args:
            queries: Stream name to (Q, d).
            places: (Q, V) int64, videos of the corpus.
            weights: (Q, V), the weight of each video; below 0: none of its moments is wanted.
            spans: Which moments.
        """
        mapped = self.span_head.map_queries(queries)
        return _try_ends(self._score_starts(mapped, places, weights, spans), places, spans)

    def rank_in_one_video(
        self, queries: Mapping[str, Tensor], places: Tensor, spans: SpanRange
    ) -> RankedMoments:
        """Rank the moments of one video of each query by p_st[i] · p_ed[j] (SVMR).

        Args:
            queries: Stream name to (Q, d).
            places: (Q,) int64, the video of each.
            spans: Which moments.
        """
        weights = torch.ones(len(places), 1, device=places.device)
        return self.rank(queries, places[:, None], weights, spans)

    def span_probabilities(
        self, queries: Mapping[str, Tensor], places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the probabilities of start and end at each clip of one video of each query.

        Args:
            queries: Stream name to (Q, d).
            places: (Q,) int64, the video of each.

        Returns:
            p_st (Q, L), p_ed (Q, L) and the mask (Q, L) of valid clips.
        """
        videos, order = places.sort(stable=True)
        mapped = self.span_head.map_queries(queries)
        found = self._probabilities(mapped, VideoPairs(order, videos))
        start, end, mask = (x[order.argsort()] for x in found)
        return start, end, mask

    def _probabilities(
        self, mapped: Mapping[str, Tensor], pairs: VideoPairs
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows, mask = pairs.rows(self.layout)
        if len(next(iter(mapped.values()))) == 1:
            # One product with all rows: products of one row each would cost more to call.
            flat, owner = self.layout.rows_of(pairs.videos)
            at = (owner, self.layout.positions[flat])
            similarity = {}
            for name, x in mapped.items():
                similarity[name] = x.new_zeros(mask.shape)
                similarity[name][at] = self.rows[name].index_select(0, flat) @ x[0]
        else:
            similarity = {
                name: pair_products(x, self._rows_by_video[name], pairs, rows.shape[1])
                for name, x in mapped.items()
            }
        start, end = self.span_head(similarity, mask)
        return start.softmax(1), end.softmax(1), mask

    def _score_starts(
        self, mapped: Mapping[str, Tensor], places: Tensor, weights: Tensor, spans: SpanRange
    ) -> '_ScoredStarts':
        lengths = self.layout.lengths[places]
        first = lengths.cumsum(1) - lengths
        width = int(lengths.sum(1).max())
        # One column more, for what is at invalid clips.
        best = weights.new_full((len(places), width + 1), -1)
        offsets = torch.empty_like(places)
        chunks = list(sort_by_video(places))
        total = sum(len(pairs) * pairs.longest(self.layout) for pairs, _ in chunks)
        probs, taken = weights.new_empty(2, total), 0
        for chunk, ranks in chunks:
            start, end, mask = self._probabilities(mapped, chunk)
            weight = weights[chunk.queries, ranks, None]
            start *= weight
            positions = torch.arange(mask.shape[1], device=mask.device)
            columns = torch.where(mask, first[chunk.queries, ranks, None] + positions, width)
            from_each = best_span_from_each_start(start, end, mask, spans)
            best[chunk.queries[:, None], columns] = from_each.masked_fill_(weight < 0, -1)
            pair = torch.arange(len(chunk), device=mask.device)
            offsets[chunk.queries, ranks] = taken + pair * mask.shape[1]
            for kept, prob in zip(
                probs[:, taken : taken + mask.numel()], (start, end), strict=True
            ):
                kept.copy_(prob.flatten())
            taken += mask.numel()
        return _ScoredStarts(best[:, :width], first, lengths, *probs, offsets)


@dataclass(frozen=True)
class _ScoredStarts:
    """What can begin at each clip of the videos of each query.

    Attributes:
        best: (Q, W), the score of the best span that starts at a clip, −1 where none does; the
            clips of a query's videos follow each other, in the order of its ranks.
        first: (Q, V) int64, the column at which each video begins.
        lengths: (Q, V) int64, clips of each video.
        start_prob: Flat, p_st of all pairs, times the video's weight.
        end_prob: Flat, p_ed of all pairs.
        offsets: (Q, V) int64, where each pair's first clip stands in the two.
    """

    best: Tensor
    first: Tensor
    lengths: Tensor
    start_prob: Tensor
    end_prob: Tensor
    offsets: Tensor


def sort_by_video(places: Tensor) -> Iterator[tuple[VideoPairs, Tensor]]:
    """Pairs of all queries and their videos, sorted by video.

    Args:
        places: (Q, V).

    Yields:
        Some of the pairs, and the column of ``places`` that each comes from.
    """
    videos, order = places.flatten().sort(stable=True)
    pairs = VideoPairs(order // places.shape[1], videos)
    ranks = (order % places.shape[1]).split(VideoPairs.AT_ONCE)
    return zip(pairs.chunks(), ranks, strict=True)


def best_span_from_each_start(
    start_prob: Tensor, end_prob: Tensor, mask: Tensor, spans: SpanRange
) -> Tensor:
    """Compute p_st[i] · max over allowed j of p_ed[j].

    Args:
        start_prob: (P, L).
        end_prob: (P, L).
        mask: (P, L) bool, true where a clip is valid.
        spans: Which spans are allowed.

    Returns:
        (P, L); −1 where no span starts.
    """
    ends = F.pad(end_prob.masked_fill(~mask, -1), (0, spans.max_span), value=-1)
    best_end = window_maximum(ends[:, spans.min_span :], spans.max_span - spans.min_span)
    best_end = best_end[:, : mask.shape[1]]
    lengths = mask.sum(1)
    whole = (lengths <= spans.min_span).nonzero().squeeze(1)
    best_end[whole, 0] = end_prob[whole, lengths[whole] - 1]
    return torch.where(best_end < 0, -1, start_prob * best_end)


def window_maximum(x: Tensor, width: int) -> Tensor:
    """The maximum of each ``width`` neighbours, by doubling windows.

    Args:
        x: (P, W).
        width: From 1 to W.

    Returns:
        (P, W − width + 1).
    """
    covered = 1
    while covered < width:
        step = min(covered, width - covered)
        x = torch.maximum(x[:, :-step], x[:, step:])
        covered += step
    return x


def _try_ends(starts: _ScoredStarts, places: Tensor, spans: SpanRange) -> RankedMoments:
    """The best spans from the best starts."""
    count = spans.num_moments
    bound, column = starts.best.topk(min(count, starts.best.shape[1]), dim=1)
    rank = torch.searchsorted(starts.first, column, right=True) - 1
    clip = column - starts.first.gather(1, rank)
    widths = torch.arange(spans.min_span, spans.max_span, device=places.device)
    length = starts.lengths.gather(1, rank)[..., None]
    inside = clip[..., None] + widths < length
    # Where a query has fewer clips than another, the last columns stand for nothing.
    at = (starts.offsets.gather(1, rank) + clip).clamp(max=len(starts.start_prob) - 1)
    ends = (at[..., None] + widths).clamp(max=len(starts.end_prob) - 1)
    # The one span of a video that is too short for any other: from its begin to its end.
    whole = ((length <= spans.min_span) & (clip[..., None] == 0)).squeeze(2)
    inside[..., 0] |= whole
    ends[..., 0] = torch.where(whole, at + length[..., 0] - 1, ends[..., 0])
    scores = starts.start_prob[at][..., None] * starts.end_prob[ends]
    scores.masked_fill_(~inside | (bound < 0)[..., None], -1)
    best, chosen = scores.flatten(1).topk(min(count, scores[0].numel()), dim=1)
    row = chosen // len(widths)
    clip = clip.gather(1, row)
    end = torch.where(
        whole.gather(1, row), length[..., 0].gather(1, row), clip + widths[chosen % len(widths)]
    )
    span = torch.stack([clip, end], 2)
    missing = (0, count - best.shape[1])
    return RankedMoments(
        F.pad(best, missing, value=-1),
        F.pad(places.gather(1, rank.gather(1, row)), missing),
        F.pad(span, (0, 0, *missing)),
    )
