"""The best moments in videos by a distribution over their spans.

Letters of shapes: Q queries, V videos searched for each, P pairs of the two, L clips, S spans, d
width, K best moments.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from reloclnet_mm.retrieval.moment_search import (
    RankedMoments,
    SpanRange,
    VideoPairs,
    sort_by_video,
)
from reloclnet_mm.structures import EncodedCorpus
from reloclnet_mm.structures.span_grid import hit_matrix, span_grid, span_iou, start_and_end

# IoUs at which benchmarks count an answer as right.
_THRESHOLDS = (0.5, 0.7)

# What is computed of so many pairs of a query and a video fits into the memory of small machines.
_PAIRS_AT_ONCE = 512


class SpanScorer(Protocol):
    """What computes the logits of spans."""

    def __call__(
        self,
        queries: Mapping[str, Tensor],
        clips: Mapping[str, Mapping[str, Tensor]],
        lengths: Tensor,
        grid: Tensor,
        min_clips: int,
    ) -> Tensor:
        """Compute (P, S); see :meth:`~reloclnet_mm.models.ReLoCLNetPlus.score_spans`."""


class MapSearch:
    """Answers with the spans that are most probably right.

    The score of a span is the probability that the moment overlaps it by an IoU of 0.5, and of 0.7,
    mean over the two: the sum of the probabilities of all spans that do. The most probable span
    alone is often at the edge of those that are probable, and this one is in their middle. Its
    neighbours are nearly as good, so that of two spans of a video that overlap by more than a
    threshold only the better one is listed.

    Args:
        corpus: The encoded videos, with ``retrieval`` and ``localization`` rows.
        score_spans: Computes the logits of spans.
        min_clips: Least length of a span.
        max_clips: Largest length of a span.
        max_iou: Largest IoU of two moments of a video in a list.
    """

    def __init__(
        self,
        corpus: EncodedCorpus,
        score_spans: SpanScorer,
        min_clips: int,
        max_clips: int,
        max_iou: float,
    ) -> None:
        self.layout = corpus.layout
        self.rows = corpus.rows
        self.score_spans = score_spans
        self.min_clips = min_clips
        length = int(self.layout.lengths.max())
        self.grid = span_grid(length, min_clips, max_clips).to(corpus.device)
        self.hits = hit_matrix(self.grid, _THRESHOLDS)
        self.rivals = rival_sets(span_iou(self.grid.float(), self.grid.float()) > max_iou)

    @torch.no_grad()
    def rank(
        self, queries: Mapping[str, Tensor], places: Tensor, weights: Tensor, spans: SpanRange
    ) -> RankedMoments:
        """Rank the moments of some videos of each query together, by weight · score.

        Args:
            queries: Name to (Q, d), as the model encodes them.
            places: (Q, V) int64, videos of the corpus.
            weights: (Q, V), the weight of each video; below 0: none of its moments is wanted.
            spans: How many moments.
        """
        each = min(spans.num_moments, len(self.grid))
        scores = weights.new_full((*places.shape, each), -1)
        chosen = places.new_zeros(scores.shape)
        for pairs, columns in sort_by_video(places, weights >= 0, _PAIRS_AT_ONCE):
            probabilities = self._probabilities(queries, pairs)
            found = (probabilities @ self.hits).masked_fill_(probabilities == 0, -1)
            best, numbers = choose_distinct(found, self.rivals, each)
            best = torch.where(best < 0, best, best * weights[pairs.queries, columns, None])
            scores[pairs.queries, columns], chosen[pairs.queries, columns] = best, numbers
        ranked = RankedMoments.none(len(places), spans.num_moments, places.device)
        best, order = scores.flatten(1).topk(min(spans.num_moments, scores[0].numel()), dim=1)
        count = best.shape[1]
        ranked.scores[:, :count] = best
        ranked.places[:, :count] = places.gather(1, order // each)
        ranked.spans[:, :count] = self.grid[chosen.flatten(1).gather(1, order)].double()
        return ranked

    def rank_in_one_video(
        self, queries: Mapping[str, Tensor], places: Tensor, spans: SpanRange
    ) -> RankedMoments:
        """Rank the moments of one video of each query (SVMR).

        Args:
            queries: Name to (Q, d), as the model encodes them.
            places: (Q,) int64, the video of each.
            spans: How many moments.
        """
        weights = torch.ones(len(places), 1, device=places.device)
        return self.rank(queries, places[:, None], weights, spans)

    @torch.no_grad()
    def span_probabilities(
        self, queries: Mapping[str, Tensor], places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the probabilities that the moment begins, and ends, with each clip of a video.

        Args:
            queries: Name to (Q, d), as the model encodes them.
            places: (Q,) int64, the video of each.

        Returns:
            p_st (Q, L), p_ed (Q, L) and the mask (Q, L) of valid clips.
        """
        pairs = VideoPairs(torch.arange(len(places), device=places.device), places)
        found = self._probabilities(queries, pairs)
        lengths = self.layout.lengths[places]
        clips = torch.arange(int(self.layout.lengths.max()), device=places.device)
        start, end = start_and_end(found, self.grid, len(clips))
        return start, end, clips < lengths[:, None]

    def _probabilities(self, queries: Mapping[str, Tensor], pairs: VideoPairs) -> Tensor:
        """Compute the probabilities (P, S) of all spans."""
        rows, _ = self.layout.pad(pairs.videos, int(self.layout.lengths.max()))
        clips = {
            use: {name: x[rows] for name, x in streams.items()}
            for use, streams in self.rows.items()
        }
        asked = {name: x[pairs.queries] for name, x in queries.items()}
        lengths = self.layout.lengths[pairs.videos]
        return self.score_spans(asked, clips, lengths, self.grid, self.min_clips).softmax(1)


def rival_sets(rivals: Tensor) -> list[int]:
    """Write each row of (S, S) bool as a whole number, whose bit k is column k."""
    packed = np.packbits(rivals.cpu().numpy(), axis=1, bitorder='little')
    return [int.from_bytes(row.tobytes(), 'little') for row in packed]


def choose_distinct(scores: Tensor, rivals: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """Choose the best spans of each pair, none a rival of a better one.

    Each choice depends on those before it. With sets of spans as bits of whole numbers a choice is
    two operations of plain Python; small tensor operations take three times as long for a query.

    Args:
        scores: (P, S), below 0 where there is no span.
        rivals: For each span the set of those that it excludes, itself among them; see
            :func:`rival_sets`.
        count: How many spans to choose.

    Returns:
        Scores (P, count), descending, −1 where there is no further span, and spans (P, count).
    """
    ordered, order = scores.cpu().sort(dim=1, descending=True, stable=True)
    places = torch.full((len(scores), count), -1)
    for pair, (spans, valid) in enumerate(zip(order, (ordered >= 0).sum(1).tolist(), strict=True)):
        chosen = _distinct(spans[:valid].tolist(), rivals, count)
        places[pair, : len(chosen)] = torch.tensor(chosen, dtype=torch.long)
    found = places.clamp(min=0)
    best = ordered.gather(1, found).masked_fill_(places < 0, -1)
    spans = order.gather(1, found).masked_fill_(places < 0, 0)
    return best.to(scores.device), spans.to(scores.device)


def _distinct(spans: Sequence[int], rivals: Sequence[int], count: int) -> list[int]:
    """List the places of the first spans that no earlier one among them excludes."""
    chosen: list[int] = []
    excluded = 0
    for place, span in enumerate(spans):
        if not excluded >> span & 1:
            chosen.append(place)
            if len(chosen) == count:
                break
            excluded |= rivals[span]
    return chosen
