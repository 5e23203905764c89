"""Which spans of a video are scored, and how far they overlap."""

import torch
from torch import Tensor

# Ends of a span may be off by a sixteenth of its length.
_STEPS = 16


def span_grid(num_clips: int, min_clips: int, max_clips: int) -> Tensor:
    """List the spans of a video, the longer ones in steps that grow with their length.

    A span of n clips begins at, and has a length of, a multiple of max(1, n // 16) clips, so that
    the number of spans grows with that of clips and not with its square. For videos of fewer clips
    than ``min_clips`` there is the span of the whole video.

    Args:
        num_clips: L, clips of the longest video.
        min_clips: Least length of a span.
        max_clips: Largest length of a span.

    Returns:
        (S, 2) int64, first clip and the clip behind the last.
    """
    spans = [(0, length) for length in range(1, min(min_clips, num_clips + 1))]
    for length in range(min_clips, min(max_clips, num_clips) + 1):
        step = max(1, length // _STEPS)
        if length % step == 0:
            spans += [(first, first + length) for first in range(0, num_clips - length + 1, step)]
    return torch.tensor(spans)


def valid_spans(grid: Tensor, lengths: Tensor, min_clips: int) -> Tensor:
    """Tell which spans of a grid videos have, (P, S) bool.

    Args:
        grid: (S, 2) int64.
        lengths: (P,) int64, clips of each video.
        min_clips: Least length of a span; only a video that is shorter has a shorter one.
    """
    first, end = grid.to(lengths.device).unbind(1)
    shorter = (end - first < min_clips) & (lengths[:, None] != end)
    return (end <= lengths[:, None]) & ~shorter


def start_and_end(probabilities: Tensor, grid: Tensor, num_clips: int) -> tuple[Tensor, Tensor]:
    """Sum the probabilities of spans by their first clip, and by their last.

    Args:
        probabilities: (P, S).
        grid: (S, 2) int64.
        num_clips: L.

    Returns:
        Two (P, L).
    """
    start, end = probabilities.new_zeros(2, len(probabilities), num_clips)
    start = start.index_add(1, grid[:, 0], probabilities)
    return start, end.index_add(1, grid[:, 1] - 1, probabilities)


def span_iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute the intersection over union of spans, (A, B).

    Args:
        a: (A, 2), begins and ends.
        b: (B, 2).
    """
    overlap = torch.minimum(a[:, None, 1], b[:, 1]) - torch.maximum(a[:, None, 0], b[:, 0])
    stretch = torch.maximum(a[:, None, 1], b[:, 1]) - torch.minimum(a[:, None, 0], b[:, 0])
    return overlap.clamp(min=0) / stretch


def hit_matrix(grid: Tensor, thresholds: tuple[float, ...]) -> Tensor:
    """Compute how many of the thresholds the IoU of each pair of spans reaches, as a share.

    Args:
        grid: (S, 2) int64.
        thresholds: IoUs at which an answer counts as right.

    Returns:
        (S, S) float32, symmetric.
    """
    iou = span_iou(grid.float(), grid.float())
    return sum((iou >= threshold).float() for threshold in thresholds) / len(thresholds)
