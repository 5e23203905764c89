"""Recalls of a ranking drawn at random, in closed form."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import hypergeom

from reloclnet_mm.structures.clips import SpanEnd


def chance_of_hit(num_right: ArrayLike, num_candidates: ArrayLike, top_k: int) -> NDArray:
    """Compute the probability that a random order has a right candidate among its first ranks.

    Args:
        num_right: (…) right candidates, broadcast against ``num_candidates``.
        num_candidates: (…) all candidates.
        top_k: How many ranks count.
    """
    total = np.asarray(num_candidates)
    return hypergeom.sf(0, total, num_right, np.minimum(top_k, total))


def mean_chance(num_right: ArrayLike, num_candidates: ArrayLike, top_k: int) -> float:
    """Compute the mean of :func:`chance_of_hit` over Q queries; NaN without queries.

    Returns:
        Percent, rounded to two decimals.
    """
    cases = np.stack(np.broadcast_arrays(num_right, num_candidates)).astype(np.int64)
    if not cases.shape[1]:
        return float('nan')
    # Few cases are distinct, and each costs 50 µs.
    (right, total), counts = np.unique(cases, axis=1, return_counts=True)
    chance = np.average(chance_of_hit(right, total, top_k), weights=counts)
    return round(100 * float(chance), 2)


def candidate_spans(
    num_clips: int, min_span: int, max_span: int, span_end: SpanEnd = 'official'
) -> NDArray:
    """List the spans (i, j) of clips that a model may answer: min_span ≤ j − i < max_span.

    Args:
        num_clips: Clips of the video.
        min_span: Smallest j − i.
        max_span: Smallest j − i that is too long.
        span_end: ``inclusive``: j may be the end of the video.

    Returns:
        (M, 2) int64; of a video too short for any of them, the whole video (0, num_clips).
    """
    num_ends = num_clips + (span_end == 'inclusive')
    if num_ends <= min_span:
        return np.array([[0, num_clips]])
    start, end = np.triu_indices(num_ends, min_span)
    allowed = end - start < max_span
    return np.stack([start[allowed], end[allowed]], 1)
