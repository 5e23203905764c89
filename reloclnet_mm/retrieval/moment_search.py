"""The best moments in videos of a corpus for encoded queries.

Letters of shapes: Q queries, V videos searched for each, P pairs of the two, L clips, d width, K
best moments, W lengths of a span.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from reloclnet_mm.structures import EncodedCorpus, RowLayout
from reloclnet_mm.structures.clips import SpanEnd

# Pairs of a query and a video at a time: what is computed of them stays in the cache of a CPU.
_PAIRS_AT_ONCE = 2048
# With fewer queries than this a product for each pair is faster than one for each video.
_FEW_QUERIES = 4

# Starts of a video of which a bound on the best of all is made; with fewer, more are sorted.
_STARTS_OF_A_VIDEO = 8

# torch warns once in a process that its sparse tensors are new.
warnings.filterwarnings('ignore', message='Sparse CSR tensor support is in beta')


class SpanHead(Protocol):
    """What predicts spans: a module of :mod:`reloclnet_mm.models.span_heads`."""

    reach: int

    def map_queries(self, queries: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map query vectors (Q, d) of each stream."""

    def __call__(
        self, similarity: Mapping[str, Tensor], clip_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute start and end logits (P, L) from the similarity (P, L) of each stream."""


class MomentFinder(Protocol):
    """What finds moments in chosen videos of a corpus, by spans or in another way."""

    def rank(
        self, queries: Mapping[str, Tensor], places: Tensor, weights: Tensor, spans: 'SpanRange'
    ) -> 'RankedMoments':
        """Rank the moments of some videos of each query together; see :class:`MomentSearch`."""

    def rank_in_one_video(
        self, queries: Mapping[str, Tensor], places: Tensor, spans: 'SpanRange'
    ) -> 'RankedMoments':
        """Rank the moments of one video of each query; see :class:`MomentSearch`."""

    def span_probabilities(
        self, queries: Mapping[str, Tensor], places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Compute what :class:`MomentSearch` does; None: it finds moments in another way."""


@dataclass(frozen=True)
class SpanRange:
    """Which spans may be answered, and how many of them.

    A span (i, j) goes from the begin of clip i to the begin of clip j, which for ``inclusive`` may
    be the end of the video. A video of too few clips for any has one span, from its begin to its
    end.

    Attributes:
        min_span: Smallest j − i of a span (i, j) in clips.
        max_span: Smallest j − i that is too long.
        num_moments: K.
        span_end: Whether the end of (i, j) is predicted at clip j or, ``inclusive``, at j − 1.
    """

    min_span: int
    max_span: int
    num_moments: int
    span_end: SpanEnd = 'official'

    @property
    def is_inclusive(self) -> bool:
        """Whether the end of a span is predicted at the last clip inside of it."""
        return self.span_end == 'inclusive'

    @property
    def offsets(self) -> range:
        """How many clips behind its start the end of a span may be predicted."""
        return range(self.min_span - self.is_inclusive, self.max_span - self.is_inclusive)


@dataclass(frozen=True)
class RankedMoments:
    """The best moments of each query.

    Attributes:
        scores: (Q, K), descending; −1 where a query has no more moments.
        places: (Q, K) int64, the moments' videos in the corpus.
        spans: (Q, K, 2), in clips; int64, or float64 where they may begin within a clip.
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
            torch.zeros((count, num_moments, 2), dtype=torch.float64, device=device),
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

    @torch.no_grad()
    def rank(
        self, queries: Mapping[str, Tensor], places: Tensor, weights: Tensor, spans: SpanRange
    ) -> RankedMoments:
        """Rank the moments of some videos of each query together.

        The score of a moment (i, j) is weight · p_st[i] · p_ed[j], for ``inclusive`` spans
        p_ed[j − 1].

        Args:
            queries: Stream name to (Q, d).
            places: (Q, V) int64, videos of the corpus.
            weights: (Q, V), the weight of each video; below 0: none of its moments is wanted.
            spans: Which moments.
        """
        mapped = self.span_head.map_queries(queries)
        found = (
            self._pair_probabilities(mapped, pairs, columns, weights[pairs.queries, columns])
            for pairs, columns in sort_by_video(places, weights >= 0)
        )
        return rank_spans(found, weights, spans)

    def rank_in_one_video(
        self, queries: Mapping[str, Tensor], places: Tensor, spans: SpanRange
    ) -> RankedMoments:
        """Rank the moments of one video of each query, without weights (SVMR).

        Args:
            queries: Stream name to (Q, d).
            places: (Q,) int64, the video of each.
            spans: Which moments.
        """
        weights = torch.ones(len(places), 1, device=places.device)
        return self.rank(queries, places[:, None], weights, spans)

    @torch.no_grad()
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

    @cached_property
    def _rows_by_video(self) -> dict[str, tuple[Tensor, ...]]:
        counts = self.layout.rows_of_each.tolist()
        return {name: x.split(counts) for name, x in self.rows.items()}

    def _probabilities(
        self, mapped: Mapping[str, Tensor], pairs: 'VideoPairs'
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute p_st (P, L), p_ed (P, L) and the mask (P, L) of valid clips."""
        length = int(self.layout.rows_of_each[pairs.videos].max())
        few = len(next(iter(mapped.values()))) < _FEW_QUERIES
        if few and pairs.videos.device.type == 'cpu':
            similarity = {
                name: products_of_pairs(x, self.rows[name], self.layout, pairs, length)
                for name, x in mapped.items()
            }
        else:
            similarity = {
                name: products_by_video(x, self._rows_by_video[name], pairs, length)
                for name, x in mapped.items()
            }
        positions = torch.arange(length, device=pairs.videos.device)
        mask = positions < self.layout.lengths[pairs.videos, None]
        start, end = self.span_head(similarity, mask)
        return start.softmax(1), end.softmax(1), mask

    def _pair_probabilities(
        self, mapped: Mapping[str, Tensor], pairs: 'VideoPairs', columns: Tensor, weights: Tensor
    ) -> 'PairProbabilities':
        start, end, _ = self._probabilities(mapped, pairs)
        start *= weights[:, None]
        return PairProbabilities(pairs, columns, self.layout.lengths[pairs.videos], start, end)


class VideoPairs(NamedTuple):
    """Pairs of a query and a video, sorted by video, and so by length.

    Attributes:
        queries: (P,) int64.
        videos: (P,) int64, places in the corpus, ascending.
    """

    queries: Tensor
    videos: Tensor


class PairProbabilities(NamedTuple):
    """Where moments of some pairs may start and end.

    Attributes:
        pairs: P pairs.
        columns: (P,) int64, the place of each pair's video in the list of the query.
        lengths: (P,) int64, clips of each video.
        start: (P, L), p_st times the weight of the video.
        end: (P, L), p_ed.
    """

    pairs: VideoPairs
    columns: Tensor
    lengths: Tensor
    start: Tensor
    end: Tensor


def rank_spans(
    found: Iterable[PairProbabilities], weights: Tensor, spans: SpanRange
) -> RankedMoments:
    """Rank the moments of all pairs of each query together.

    The best span from each start is found first. K starts have spans at least as good as the K-th
    best of these, so the best K spans begin at the best K starts, and only from there all ends are
    tried.

    Args:
        found: The pairs, some at a time.
        weights: (Q, V), of each query and video; their values are in ``found`` already.
        spans: Which moments.
    """
    # The best scores of some starts of each video.
    best = weights.new_full((*weights.shape, _STARTS_OF_A_VIDEO), -1)
    scored = []
    for part in found:
        scores = best_span_from_each_start(part.start, part.end, part.lengths, spans)
        best[part.pairs.queries, part.columns] = strided_maxima(scores, _STARTS_OF_A_VIDEO)
        scored.append(_ScoredStarts(part.pairs, part.lengths, part.start, part.end, scores))
    # That many starts are as good as this.
    best = best.flatten(1)
    least = best.new_zeros(len(best))
    if best.shape[1] >= spans.num_moments:
        least = best.topk(spans.num_moments, dim=1).values[:, -1].clamp(min=0)
    if not scored:
        return RankedMoments.none(len(weights), spans.num_moments, weights.device)
    return _try_ends(_Starts.choose(scored, least, spans.num_moments), scored, spans, len(weights))


def sort_by_video(
    places: Tensor, wanted: Tensor, at_once: int | None = None
) -> Iterator[tuple[VideoPairs, Tensor]]:
    """Sort pairs of all queries and their videos by video.

    Args:
        places: (Q, V).
        wanted: (Q, V) bool, the pairs to take.
        at_once: How many pairs to yield together; None: a number for inner products.

    Yields:
        Some of the pairs, and the column of ``places`` from which each comes.
    """
    queries, columns = wanted.nonzero(as_tuple=True)
    videos, order = places[queries, columns].sort(stable=True)
    size = at_once or _PAIRS_AT_ONCE
    parts = (x.split(size) for x in (queries[order], videos, columns[order]))
    for chosen, videos_of, columns_of in zip(*parts, strict=True):
        if len(chosen):  # no pairs split into one part of none
            yield VideoPairs(chosen, videos_of), columns_of


def products_by_video(
    queries: Tensor, rows_by_video: Sequence[Tensor], pairs: VideoPairs, length: int
) -> Tensor:
    """Compute inner products of each pair's query and the rows of its video, video by video.

    Args:
        queries: (Q, d).
        rows_by_video: Of each video of the corpus (rows, d).
        pairs: P pairs.
        length: L, no smaller than the rows of any of the videos.

    Returns:
        (P, L), 0 beyond the rows of a video.
    """
    products = queries.new_zeros(len(pairs.videos), length)
    chosen = queries.index_select(0, pairs.queries)
    videos, counts = pairs.videos.unique_consecutive(return_counts=True)
    first = 0
    for video, count in zip(videos.tolist(), counts.tolist(), strict=True):
        x, last = rows_by_video[video], first + count
        torch.mm(chosen[first:last], x.T, out=products[first:last, : len(x)])
        first = last
    return products


def products_of_pairs(
    queries: Tensor, rows: Tensor, layout: RowLayout, pairs: VideoPairs, length: int
) -> Tensor:
    """Compute what :func:`products_by_video` does, pair by pair, without a copy of rows.

    For a few queries, products of one row each would cost more to call than to compute.

    Args:
        queries: (Q, d), on a CPU.
        rows: (R, d), of all videos.
        layout: Layout of the R rows.
        pairs: P pairs.
        length: L.
    """
    counts = layout.rows_of_each[pairs.videos]
    chosen, _ = layout.rows_of(pairs.videos)
    # The wanted products are the non-zero places of a sparse matrix (P, R).
    wanted = torch.sparse_csr_tensor(
        F.pad(counts.cumsum(0), (1, 0)),
        chosen,
        queries.new_zeros(len(chosen)),
        (len(counts), len(rows)),
        check_invariants=False,
    )
    found = torch.sparse.sampled_addmm(wanted, queries[pairs.queries], rows.T, beta=0).values()
    has_row = torch.arange(length) < counts[:, None]
    return queries.new_zeros(has_row.shape).masked_scatter_(has_row, found)


def best_span_from_each_start(
    start: Tensor, end: Tensor, lengths: Tensor, spans: SpanRange
) -> Tensor:
    """Compute start[i] · max over allowed ends j of end[j].

    Args:
        start: (P, L), 0 or more.
        end: (P, L), 0 at invalid clips.
        lengths: (P,) int64, valid clips.
        spans: Which spans are allowed.

    Returns:
        (P, L); −1 where no span starts.
    """
    offsets = spans.offsets
    ends = F.pad(end[:, offsets.start :], (0, offsets.stop))
    best = window_maximum(ends, len(offsets))[:, : end.shape[1]] * start
    num_starts = lengths - offsets.start
    positions = torch.arange(end.shape[1], device=end.device)
    best.masked_fill_(positions >= num_starts[:, None], -1)
    short = (num_starts <= 0).nonzero().squeeze(1)
    if len(short):  # the one span of such a video is the whole of it
        best[short, 0] = start[short, 0] * end[short, lengths[short] - 1]
    return best


def window_maximum(x: Tensor, width: int) -> Tensor:
    """Compute the maximum of each ``width`` neighbours, by doubling windows.

    Args:
        x: (P, L).
        width: From 1 to L.

    Returns:
        (P, L − width + 1).
    """
    covered = 1
    while covered < width:
        step = min(covered, width - covered)
        x = torch.maximum(x[:, :-step], x[:, step:])
        covered += step
    return x


def strided_maxima(x: Tensor, count: int) -> Tensor:
    """Compute the maximum of every ``count``-th number, from each of the first ones on.

    Neighbours are in different maxima: where one start is good, those beside it are too.

    Args:
        x: (P, L), −1 or more.
        count: C.

    Returns:
        (P, C); −1 where there are fewer numbers.
    """
    return F.pad(x, (0, -x.shape[1] % count), value=-1).unflatten(1, (-1, count)).amax(1)


class _ScoredStarts(NamedTuple):
    """What can begin at each clip of some pairs.

    Attributes:
        pairs: P pairs.
        lengths: (P,) int64, clips of each video.
        start: (P, L), p_st times the weight of the video.
        end: (P, L), p_ed.
        best: (P, L), the score of the best span that starts at a clip, −1 where none does.
    """

    pairs: VideoPairs
    lengths: Tensor
    start: Tensor
    end: Tensor
    best: Tensor


class _Starts(NamedTuple):
    """The T best starts of all queries together, sorted by query.

    Attributes:
        queries: (T,) int64.
        ranks: (T,) int64, the place of a start among those of its query.
        places: (T,) int64, its video.
        clips: (T,) int64, its clip.
        lengths: (T,) int64, clips of its video.
        prob: (T,), p_st times the weight of the video.
        at: (T,) int64, its index among all clips of all pairs.
    """

    queries: Tensor
    ranks: Tensor
    places: Tensor
    clips: Tensor
    lengths: Tensor
    prob: Tensor
    at: Tensor

    @staticmethod
    def choose(scored: Sequence[_ScoredStarts], least: Tensor, count: int) -> '_Starts':
        """Take the best ``count`` starts of each query; all others are below ``least`` (Q,)."""
        found, base = [], 0
        for pairs, lengths, start, _, best in scored:
            pair, clip = (best >= least[pairs.queries, None]).nonzero(as_tuple=True)
            flat = pair * best.shape[1] + clip
            queries, places = pairs.queries[pair], pairs.videos[pair]
            scores, prob = best.take(flat), start.take(flat)
            found.append((scores, queries, places, clip, lengths[pair], prob, flat + base))
            base += best.numel()
        scores, queries, *others = map(torch.cat, zip(*found, strict=True))
        order = scores.argsort(descending=True)
        order = order[queries[order].argsort(stable=True)]
        queries = queries[order]
        counts = queries.bincount(minlength=len(least))
        ranks = torch.arange(len(queries), device=order.device)
        ranks = ranks - (counts.cumsum(0) - counts)[queries]
        kept = ranks < count
        return _Starts(queries[kept], ranks[kept], *(x[order[kept]] for x in others))


def _try_ends(
    starts: _Starts, scored: Sequence[_ScoredStarts], spans: SpanRange, num_queries: int
) -> RankedMoments:
    """Rank all spans from the best starts."""
    count, least, num_lengths = spans.num_moments, spans.offsets.start, len(spans.offsets)
    ends = torch.cat([part.end.flatten() for part in scored])
    # A video that is too short for any other span has one, from its begin to its end.
    shortest = (starts.lengths - 1).clamp(max=least)
    offsets = shortest[:, None] + torch.arange(num_lengths, device=shortest.device)
    scores = starts.prob[:, None] * ends[(starts.at[:, None] + offsets).clamp(max=len(ends) - 1)]
    scores.masked_fill_(starts.clips[:, None] + offsets >= starts.lengths[:, None], -1)
    width = min(int(starts.ranks.max()) + 1, count)
    by_query = scores.new_full((num_queries, width, num_lengths), -1)
    by_query[starts.queries, starts.ranks] = scores
    best, chosen = by_query.flatten(1).topk(min(count, width * num_lengths), dim=1)
    start_of = torch.zeros((num_queries, width), dtype=torch.long, device=shortest.device)
    start_of[starts.queries, starts.ranks] = torch.arange(len(scores), device=shortest.device)
    start = start_of.gather(1, chosen // num_lengths)
    clip = starts.clips[start]
    end = clip + shortest[start] + chosen % num_lengths
    is_inside = (starts.lengths[start] <= least) | spans.is_inclusive
    span = torch.stack([clip, end + is_inside], 2)
    missing = (0, count - best.shape[1])
    return RankedMoments(
        F.pad(best, missing, value=-1),
        F.pad(starts.places[start], missing),
        F.pad(span, (0, 0, *missing)),
    )
