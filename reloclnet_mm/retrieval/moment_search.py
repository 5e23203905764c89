"""Ranked videos and moments of a corpus for encoded queries.

Letters of shapes: Q queries, V videos searched for each, P pairs of the two, L clips, K ranks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from reloclnet_mm.retrieval.index import CorpusIndex
from reloclnet_mm.retrieval.pairs import VideoPairs, pair_products
from reloclnet_mm.retrieval.similarity import span_logits
from reloclnet_mm.retrieval.video_search import best_videos

_QUERIES_AT_ONCE = 2048


@dataclass(frozen=True)
class SpanRange:
    """Which spans may be answered, and how many of them.

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
        """Those of some queries."""
        return RankedMoments(self.scores[chosen], self.places[chosen], self.spans[chosen])

    @staticmethod
    def cat(parts: list['RankedMoments']) -> 'RankedMoments':
        """Those of several blocks of queries, one after another."""
        return RankedMoments(
            torch.cat([part.scores for part in parts]),
            torch.cat([part.places for part in parts]),
            torch.cat([part.spans for part in parts]),
        )


def rank_videos_and_moments(
    queries: Mapping[str, Tensor],
    mapped: Mapping[str, Tensor],
    index: CorpusIndex,
    *,
    num_videos: int,
    alpha: float,
    spans: SpanRange,
) -> tuple[Tensor, Tensor, RankedMoments]:
    """VR and VCMR: the best videos, and the best moments in them.

    The score of a moment (video, i, j) is p_st[i] · p_ed[j] · exp(α · s).

    Args:
        queries: Stream name to (Q, d).
        mapped: The same, mapped by the span predictor.
        index: The corpus.
        num_videos: Videos that are ranked and searched.
        alpha: α.
        spans: Which moments.

    Returns:
        The videos' scores (Q, K), descending; their places (Q, K); the moments.
    """
    parts = []
    for block in query_blocks(queries):
        scores, places = best_videos({n: x[block] for n, x in queries.items()}, index, num_videos)
        part = {n: x[block] for n, x in mapped.items()}
        weights = torch.exp(alpha * scores)
        parts.append((scores, places, rank_moments(part, index, places, weights, spans)))
    scores, places, moments = zip(*parts, strict=True)
    return torch.cat(scores), torch.cat(places), RankedMoments.cat(list(moments))


def rank_moments_in_own_video(
    mapped: Mapping[str, Tensor],
    index: CorpusIndex,
    places: Tensor,
    spans: SpanRange,
) -> RankedMoments:
    """SVMR: the best moments in one video of each query, by p_st[i] · p_ed[j].

    Args:
        mapped: Stream name to (Q, d), mapped by the span predictor.
        index: The corpus.
        places: (Q,) int64, each query's video.
        spans: Which moments.
    """
    parts = []
    for block in query_blocks(mapped):
        part = {name: x[block] for name, x in mapped.items()}
        own = places[block, None]
        weights = torch.ones(own.shape, device=own.device)
        parts.append(rank_moments(part, index, own, weights, spans))
    return RankedMoments.cat(parts)


def query_blocks(queries: Mapping[str, Tensor]) -> list[slice]:
    """So many queries at a time that intermediate results stay small.

    Args:
        queries: Stream name to (Q, d).
    """
    total = len(next(iter(queries.values())))
    return [slice(i, i + _QUERIES_AT_ONCE) for i in range(0, total, _QUERIES_AT_ONCE)]


def rank_moments(
    mapped: Mapping[str, Tensor],
    index: CorpusIndex,
    places: Tensor,
    weights: Tensor,
    spans: SpanRange,
) -> RankedMoments:
    """The best moments of each query over some videos together.

    The best span from each start is found first. K starts have spans at least as good as the K-th
    best of these, so the best K spans begin at the best K starts, and only from there all ends are
    tried.

    Args:
        mapped: Stream name to (Q, d), mapped by the span predictor.
        index: The corpus.
        places: (Q, V) int64, videos of the corpus.
        weights: (Q, V), the factor of all spans of a video; below 0: none of them is wanted.
        spans: Which moments.
    """
    queries = torch.cat([mapped[name] for name in index.streams], 1) / len(mapped)
    starts = _score_starts(queries, index, places, weights, spans)
    return _try_ends(starts, places, spans)


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


def _score_starts(
    queries: Tensor,
    index: CorpusIndex,
    places: Tensor,
    weights: Tensor,
    spans: SpanRange,
) -> _ScoredStarts:
    lengths = index.corpus.layout.lengths[places]
    first = lengths.cumsum(1) - lengths
    width = int(lengths.sum(1).max())
    # One column more, for what stands at invalid clips.
    best = queries.new_full((len(queries), width + 1), -1)
    offsets = torch.empty_like(places)
    chunks = list(sort_by_video(places))
    total = sum(len(pairs) * pairs.longest(index.corpus.layout) for pairs, _ in chunks)
    probs, taken = queries.new_empty(2, total), 0
    for chunk, ranks in chunks:
        start, end, mask = span_probabilities(queries, index, chunk)
        start *= weights[chunk.queries, ranks, None]
        positions = torch.arange(mask.shape[1], device=mask.device)
        columns = torch.where(mask, first[chunk.queries, ranks, None] + positions, width)
        from_each = best_span_from_each_start(start, end, mask, spans)
        unwanted = weights[chunk.queries, ranks, None] < 0
        best[chunk.queries[:, None], columns] = from_each.masked_fill_(unwanted, -1)
        pair = torch.arange(len(chunk), device=mask.device)
        offsets[chunk.queries, ranks] = taken + pair * mask.shape[1]
        for kept, prob in zip(probs[:, taken : taken + mask.numel()], (start, end), strict=True):
            kept.copy_(prob.flatten())
        taken += mask.numel()
    return _ScoredStarts(best[:, :width], first, lengths, *probs, offsets)


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


def span_probabilities(
    queries: Tensor, index: CorpusIndex, pairs: VideoPairs
) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities of a moment's start and end at each clip.

    Args:
        queries: (Q, S·d), mapped by the span predictor, the S streams side by side, divided by S.
        index: The corpus.
        pairs: P pairs.

    Returns:
        p_st (P, L), p_ed (P, L) and the mask (P, L) of valid clips.
    """
    rows, mask = pairs.rows(index.corpus.layout)
    similarity = pair_products(queries, index.clips_of_videos, pairs, rows.shape[1])
    start, end = span_logits(similarity, mask, index.convolutions(mask.shape[1]))
    return start.softmax(1), end.softmax(1), mask


def best_span_from_each_start(
    start_prob: Tensor, end_prob: Tensor, mask: Tensor, spans: SpanRange
) -> Tensor:
    """p_st[i] · max over allowed j of p_ed[j].

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
    inside = clip[..., None] + widths < starts.lengths.gather(1, rank)[..., None]
    # Where a query has fewer clips than another, the last columns stand for nothing.
    at = (starts.offsets.gather(1, rank) + clip).clamp(max=len(starts.start_prob) - 1)
    ends = (at[..., None] + widths).clamp(max=len(starts.end_prob) - 1)
    scores = starts.start_prob[at][..., None] * starts.end_prob[ends]
    scores.masked_fill_(~inside | (bound < 0)[..., None], -1)
    best, chosen = scores.flatten(1).topk(min(count, scores[0].numel()), dim=1)
    row = chosen // len(widths)
    clip = clip.gather(1, row)
    span = torch.stack([clip, clip + widths[chosen % len(widths)]], 2)
    missing = (0, count - best.shape[1])
    return RankedMoments(
        F.pad(best, missing, value=-1),
        F.pad(places.gather(1, rank.gather(1, row)), missing),
        F.pad(span, (0, 0, *missing)),
    )
