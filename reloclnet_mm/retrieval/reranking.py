"""From scores of pairs to lists of moments and videos.

Letters of shapes: Q queries, V re-ranked videos, K ranked videos, L clips.
"""

import torch
from torch import Tensor

from reloclnet_mm.retrieval.moment_search import (
    PairProbabilities,
    RankedMoments,
    SpanRange,
    VideoPairs,
    best_span_from_each_start,
    rank_spans,
)
from reloclnet_mm.retrieval.pair_scores import PairScores
from reloclnet_mm.structures import RowLayout


def moment_probabilities(scores: PairScores, *, together: bool) -> tuple[Tensor, Tensor]:
    """Compute the probability that the moment begins, and that it ends, with each clip.

    Args:
        scores: Of (Q, V, L) clips.
        together: Whether they sum to 1 over all videos of a query; otherwise over each. Together
            the logarithm of their product is start logit + end logit, but for a constant.

    Returns:
        p_st and p_ed, (Q, V, L).
    """
    logits = scores.start_logits, scores.end_logits
    if not together:
        start, end = (x.softmax(2) for x in logits)
    else:
        start, end = (x.flatten(1).softmax(1).view(x.shape) for x in logits)
    return start, end


def rank_moments(
    start: Tensor,
    end: Tensor,
    weights: Tensor,
    places: Tensor,
    layout: RowLayout,
    spans: SpanRange,
) -> RankedMoments:
    """Rank the moments of several videos of each query together, by weight · p_st · p_ed.

    Args:
        start: (Q, V, L), p_st.
        end: (Q, V, L), p_ed.
        weights: (Q, V), 0 or more.
        places: (Q, V) int64, videos of the layout.
        layout: Layout of the clips.
        spans: Which moments.
    """
    return rank_spans([_pairs(start * weights[..., None], end, places, layout)], weights, spans)


def best_moments(
    start: Tensor, end: Tensor, places: Tensor, layout: RowLayout, spans: SpanRange
) -> Tensor:
    """Compute the score of the best moment of each video, (Q, V); see :func:`rank_moments`."""
    pairs = _pairs(start, end, places, layout)
    best = best_span_from_each_start(pairs.start, pairs.end, pairs.lengths, spans)
    return best.amax(1).view(places.shape)


def put_first(video_scores: Tensor, videos: Tensor, reranked: Tensor) -> tuple[Tensor, Tensor]:
    """Put the re-ranked videos of each query in a new order; the others follow in the old one.

    Args:
        video_scores: (Q, K), descending.
        videos: (Q, K) int64.
        reranked: (Q, V), new scores of the first V videos, above 0.

    Returns:
        Scores (Q, K), descending, 0 and below for the others, and videos (Q, K).
    """
    count = reranked.shape[1]
    best, order = reranked.sort(dim=1, descending=True, stable=True)
    others = video_scores[:, count:]
    return (
        torch.cat([best, others - others[:, :1]], 1),
        torch.cat([videos[:, :count].gather(1, order), videos[:, count:]], 1),
    )


def _pairs(start: Tensor, end: Tensor, places: Tensor, layout: RowLayout) -> PairProbabilities:
    count, width = places.shape
    queries, columns = torch.cartesian_prod(
        torch.arange(count, device=places.device), torch.arange(width, device=places.device)
    ).unbind(1)
    videos = places.flatten()
    return PairProbabilities(
        VideoPairs(queries, videos),
        columns,
        layout.lengths[videos],
        start.flatten(0, 1),
        end.flatten(0, 1),
    )
