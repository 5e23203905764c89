"""What ranked answers are worth, and the metrics that follow from it: pure NumPy.

A list of K answers is compared with the M right moments of its query once (:func:`overlaps`). From
that follows what each rank is worth for each of T thresholds, (T, K): a hit (:func:`moment_hits`),
or the right moment that it takes (:func:`match_moments`). The worths of Q queries, one below the
other (:func:`stack_worths`), are a matrix (query, rank), from which recall, AP and NDCG are read.

Lists and truths may be padded: an absent row has a video id that no video has, or NaN.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def temporal_iou(moments: ArrayLike, others: ArrayLike) -> NDArray:
    """Compute the intersection over union of moments, in float32.

    The union is the stretch from the earlier start to the later end, which for moments that overlap
    is their union; for others the intersection is 0.

    Args:
        moments: (…, 2) [start, end].
        others: (…, 2) [start, end], broadcast against ``moments``.

    Returns:
        (…) float32. 0 where both moments are empty and equal; NaN where a bound is.
    """
    a, b = np.asarray(moments, np.float32), np.asarray(others, np.float32)
    overlap = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    stretch = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
    return np.maximum(overlap, 0) / np.where(stretch == 0, np.float32(1), stretch)


def overlaps(
    video_ids: ArrayLike, moments: ArrayLike, gt_video_ids: ArrayLike, gt_moments: ArrayLike
) -> NDArray:
    """Compute the IoU of each answer with each right moment.

    Args:
        video_ids: (K,) video ids in ranked order.
        moments: (K, 2) seconds.
        gt_video_ids: (M,) video ids of the right moments.
        gt_moments: (M, 2) seconds.

    Returns:
        (K, M) float32; 0 where the two are in different videos or one is absent.
    """
    iou = temporal_iou(np.asarray(moments)[:, None], np.asarray(gt_moments)[None])
    same_video = np.asarray(video_ids)[:, None] == np.asarray(gt_video_ids)[None]
    return np.where(same_video & ~np.isnan(iou), iou, np.float32(0))


def moment_hits(
    overlap: NDArray,
    iou_thresholds: ArrayLike,
    min_annotators: int = 1,
    annotators: ArrayLike | None = None,
) -> NDArray:
    """Tell which answers are right.

    An answer is right if its IoU reaches the threshold (≥, in float32) with a right moment of at
    least ``min_annotators`` annotators. DiDeMo asks for two (Hendricks et al., ICCV 2017).

    Args:
        overlap: (K, M), see :func:`overlaps`.
        iou_thresholds: (T,), above 0.
        min_annotators: Annotators that an answer has to agree with.
        annotators: (M,) the annotator of each right moment; None: each is of another one.

    Returns:
        (T, K) bool.
    """
    agree = overlap[None] >= np.asarray(iou_thresholds, np.float32)[:, None, None]
    if annotators is not None:
        numbers = np.asarray(annotators)
        agree = np.stack([agree[..., numbers == x].any(2) for x in np.unique(numbers)], 2)
    return agree.sum(2) >= min_annotators


def video_hits(video_ids: ArrayLike, gt_video_ids: ArrayLike) -> NDArray:
    """Tell which ranked videos (K,) are those of right moments (M,), as (1, K) bool."""
    return np.isin(np.asarray(video_ids), np.asarray(gt_video_ids))[None]


def match_moments(overlap: NDArray, iou_thresholds: ArrayLike, *, strict: bool = False) -> NDArray:
    """Give each right moment to one answer at most, from the best rank down.

    An answer takes the right moment that it overlaps most among those not yet taken, if their IoU
    reaches the threshold.

    Args:
        overlap: (K, M), see :func:`overlaps`.
        iou_thresholds: (T,), above 0.
        strict: Whether the IoU has to be above the threshold, as in TVR-Ranking, not only reach it.

    Returns:
        (T, K) int64, the right moment that each answer takes, −1 for none.
    """
    thresholds = np.asarray(iou_thresholds, np.float32)
    taken = np.full((len(thresholds), len(overlap)), -1)
    free = np.ones((len(thresholds), overlap.shape[1]), bool)
    each = np.arange(len(thresholds))
    for rank in np.flatnonzero((overlap >= thresholds.min()).any(1)):
        left = np.where(free, overlap[rank], -1)
        best = left.argmax(1)
        found = left[each, best]
        right = found > thresholds if strict else found >= thresholds
        taken[right, rank] = best[right]
        free[each[right], best[right]] = False
    return taken


def gains(relevance: ArrayLike, matches: NDArray | None = None) -> NDArray:
    """Compute 2^relevance − 1 of right moments (M,), or of those that answers take.

    Args:
        relevance: (M,); NaN: the moment is absent.
        matches: (T, K), see :func:`match_moments`; an answer that takes none gains 0.

    Returns:
        (M,) or (T, K) float64.
    """
    gain = np.append(np.nan_to_num(2.0 ** np.asarray(relevance, np.float64) - 1), 0)
    return gain[:-1] if matches is None else gain[matches]


def stack_worths(worths: Sequence[NDArray], width: int = 0) -> NDArray:
    """Put the worths of Q lists, (…, K) of different K, below each other: (Q, …, longest K).

    Args:
        worths: At least one; what a list lacks is worth 0.
        width: Smallest K of the result.
    """
    width = max(width, *(x.shape[-1] for x in worths))
    shape = (*worths[0].shape[:-1], width)
    matrix = np.zeros((len(worths), *shape), worths[0].dtype)
    for row, worth in zip(matrix, worths, strict=True):
        row[..., : worth.shape[-1]] = worth
    return matrix


def recall_at(hits: NDArray, top_k: int) -> float:
    """Compute the percent of queries that have a hit among the first ``top_k`` ranks.

    Args:
        hits: (Q, K) bool.
        top_k: How many ranks count.

    Returns:
        Percent, rounded to two decimals; NaN without queries.
    """
    found = np.asarray(hits)[:, :top_k].any(1)
    return round(float(found.mean() * 100), 2) if found.size else float('nan')


def ndcg_at(gain: NDArray, ideal: NDArray, top_k: int) -> NDArray:
    """Compute the normalized discounted cumulative gain of each query, with log2(rank + 1).

    Args:
        gain: (Q, K) of the answers, in ranked order.
        ideal: (Q, M) of the right moments, in any order, padded with 0.
        top_k: How many ranks, and how many of the most relevant moments, count.

    Returns:
        (Q,) from 0 to 1; 0 where nothing is relevant.
    """

    def discounted(x: NDArray) -> NDArray:
        x = x[:, :top_k]
        return (x / np.log2(np.arange(x.shape[1]) + 2)).sum(1)

    best = discounted(-np.sort(-ideal, 1))
    return np.divide(discounted(gain), best, out=np.zeros(len(best)), where=best > 0)


def average_precision(hits: NDArray, num_right: ArrayLike) -> NDArray:
    """Compute the average precision of each query, with VOC's interpolation.

    The precision at a recall is the highest at this or any higher recall.

    Args:
        hits: (…, K) bool, answers that take a right moment of their own, in ranked order.
        num_right: (…) right moments of the query, at least 1.

    Returns:
        (…) from 0 to 1.
    """
    precision = hits.cumsum(-1) / np.arange(1, hits.shape[-1] + 1)
    highest = np.maximum.accumulate(precision[..., ::-1], -1)[..., ::-1]
    return (highest * hits).sum(-1) / np.asarray(num_right)
