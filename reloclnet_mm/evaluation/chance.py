"""Recalls of a ranking drawn at random, in closed form."""

from math import expm1, lgamma

import numpy as np
from numpy.typing import NDArray

from reloclnet_mm.evaluation.functional import temporal_iou


def chance_of_hit(num_right: int, num_candidates: int, top_k: int) -> float:
    """Probability that a random order of candidates has a right one among its first ranks.

    1 − C(M − c, K) / C(M, K), the hypergeometric distribution's P(X ≥ 1).

    Args:
        num_right: c, right candidates.
        num_candidates: M, all candidates.
        top_k: K, ranks that count.
    """
    wrong = num_candidates - num_right
    if num_right == 0 or num_candidates == 0:
        return 0.0
    if wrong < top_k:
        return 1.0
    log_miss = (
        lgamma(wrong + 1)
        - lgamma(wrong - top_k + 1)
        - lgamma(num_candidates + 1)
        + lgamma(num_candidates - top_k + 1)
    )
    return -expm1(log_miss)


def candidate_spans(num_clips: int, min_span: int, max_span: int) -> NDArray:
    """All spans (i, j) that a model may answer: min_span <= j - i < max_span.

    Args:
        num_clips: Clips of the video.
        min_span: Smallest j - i.
        max_span: Smallest j - i that is too long.

    Returns:
        (M, 2) int64.
    """
    start, end = np.triu_indices(num_clips, min_span)
    allowed = end - start < max_span
    return np.stack([start[allowed], end[allowed]], 1)


def right_candidates(
    spans: NDArray, seconds_per_clip: float, gt_moments: NDArray, iou: float, min_annotators: int
) -> int:
    """How many of the candidate spans are right, as in ``first_moment_hits``."""
    overlap = temporal_iou(spans[:, None] * seconds_per_clip, np.asarray(gt_moments)[None])
    return int(((overlap >= np.float32(iou)).sum(1) >= min_annotators).sum())
