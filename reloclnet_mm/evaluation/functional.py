"""Recalls from ranked lists: pure NumPy.

Ranked lists are padded: an absent rank holds video id -1 (or any id that no
video has) or NaN seconds, and is never a hit.
"""

import numpy as np
from numpy.typing import NDArray

NO_HIT = np.iinfo(np.int64).max
"""The rank of what never stands in a list: beyond any K, however short the list."""


def temporal_iou(moments: NDArray, others: NDArray) -> NDArray:
    """Intersection over union of spans of time, in float32.

    The union is the stretch from the earlier start to the later end, which for
    spans that overlap is their union; for others the intersection is 0.

    Args:
        moments: (…, 2) [start, end].
        others: (…, 2) [start, end], broadcast against ``moments``.

    Returns:
        (…) float32. 0 where both spans are empty and equal; NaN where a bound is.
    """
    a, b = np.asarray(moments, np.float32), np.asarray(others, np.float32)
    overlap = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    stretch = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
    return np.maximum(overlap, 0) / np.where(stretch == 0, np.float32(1), stretch)


def first_video_hit(pred_videos: NDArray, gt_video: int) -> int:
    """The rank, from 0, at which the right video stands first; ``NO_HIT`` if never.

    Args:
        pred_videos: (K,) video ids in ranked order.
        gt_video: The right video's id.
    """
    hits = np.asarray(pred_videos) == gt_video
    return int(hits.argmax()) if hits.any() else NO_HIT


def first_moment_hits(
    pred_videos: NDArray,
    pred_moments: NDArray,
    gt_video: int,
    gt_moments: NDArray,
    iou_thresholds: NDArray,
    min_annotators: int = 1,
) -> NDArray:
    """The rank, from 0, of the first right moment for each threshold.

    A moment is right where it lies in the right video and its IoU reaches the
    threshold (>=, in float32) with at least ``min_annotators`` of the annotated
    moments. DiDeMo asks for two (Hendricks et al., ICCV 2017).

    Args:
        pred_videos: (K,) video ids in ranked order.
        pred_moments: (K, 2) seconds.
        gt_video: The right video's id.
        gt_moments: (A, 2) seconds, one row an annotator; NaN rows are absent.
        iou_thresholds: (T,).
        min_annotators: Annotators that a moment has to agree with.

    Returns:
        (T,) int64; ``NO_HIT`` where no rank is right.
    """
    iou = temporal_iou(np.asarray(pred_moments)[:, None], np.asarray(gt_moments)[None])
    agree = (iou[None] >= np.asarray(iou_thresholds, np.float32)[:, None, None]).sum(2)
    hits = (agree >= min_annotators) & (np.asarray(pred_videos) == gt_video)[None]
    if not hits.shape[1]:
        return np.full(len(hits), NO_HIT)
    return np.where(hits.any(1), hits.argmax(1), NO_HIT)


def recall_at(first_hits: NDArray, top_k: int) -> float:
    """Percent of queries whose first right rank is among the first ``top_k``.

    Args:
        first_hits: (Q,) ranks from 0; ``NO_HIT`` where there is none.
        top_k: How many ranks count.

    Returns:
        Percent, rounded to two decimals; NaN without queries.
    """
    hits = np.asarray(first_hits) < top_k
    return round(float(hits.mean() * 100), 2) if hits.size else float('nan')
