"""Scores of videos and clips: pure functions of tensors.

Letters of shapes: B samples of a batch, Q queries, N videos, R rows of their clips, L clips of a
video, d width.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reloclnet_mm.structures.packed_rows import RowLayout


def video_scores(
    queries: Mapping[str, Tensor], clips: Mapping[str, Tensor], layout: RowLayout
) -> Tensor:
    """S of the paper: the largest cosine over a video's clips, mean over streams.

    Args:
        queries: Stream name to (Q, d).
        clips: Stream name to (R, d).
        layout: Of the R rows.

    Returns:
        (Q, N).
    """
    cosines = similarity_of_all(
        {name: F.normalize(x, dim=1) for name, x in queries.items()},
        {name: F.normalize(x, dim=1) for name, x in clips.items()},
    )
    return largest_similarity(cosines, layout)


def similarity_of_all(
    queries: Mapping[str, Tensor], clips: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Inner products of all clips with all queries.

    Args:
        queries: Stream name to (Q, d).
        clips: Stream name to (R, d).

    Returns:
        Stream name to (R, Q).
    """
    return {name: clips[name] @ x.T for name, x in queries.items()}


def largest_similarity(similarity: Mapping[str, Tensor], layout: RowLayout) -> Tensor:
    """The largest similarity over a video's clips, mean over streams.

    Args:
        similarity: Stream name to (R, Q).
        layout: Of the R rows.

    Returns:
        (Q, N).
    """
    return torch.stack([layout.largest(x) for x in similarity.values()]).mean(0).T


def similarity_in_own_video(similarity: Tensor, rows: Tensor) -> Tensor:
    """Of the similarity of all, that of each sample's query with the clips of its video.

    Args:
        similarity: (R, B).
        rows: (B, L) int64, the rows of each sample's video.

    Returns:
        (B, L).
    """
    samples = torch.arange(len(rows), device=rows.device)
    return similarity[rows, samples[:, None]]


def span_logits(
    similarity: Tensor, clip_mask: Tensor, convolutions: Tensor
) -> tuple[Tensor, Tensor]:
    """Start and end logits.

    Args:
        similarity: (P, L), p of the paper.
        clip_mask: (P, L) bool.
        convolutions: (L, 2 · L), :func:`convolution_matrix` for starts and ends.

    Returns:
        Two (P, L); the dtype's minimum at invalid clips.
    """
    start, end = (similarity @ convolutions).chunk(2, 1)
    least = torch.finfo(start.dtype).min
    return start.masked_fill(~clip_mask, least), end.masked_fill(~clip_mask, least)


def convolution_matrix(kernels: Tensor, length: int) -> Tensor:
    """Zero-padded convolutions as a matrix: many short rows meet it faster than a convolution.

    Args:
        kernels: (C, 1, kernel size), odd.
        length: L.

    Returns:
        (L, C · L); a row times it is the C convolutions of the row, one after another.
    """
    size = kernels.shape[2]
    position = torch.arange(length, device=kernels.device)
    tap = position[:, None] - position + size // 2
    reached = (tap >= 0) & (tap < size)
    bands = kernels[:, 0, tap.clamp(0, size - 1)].masked_fill(~reached, 0)
    return bands.transpose(0, 1).flatten(1)


def temporal_nms(
    moments: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, num_moments: int
) -> Tensor:
    """Greedy non-maximum suppression of moments, within each video for itself.

    Args:
        moments: (M, 2) seconds.
        scores: (M,), any order.
        groups: (M,) the video of each moment.
        iou_threshold: A moment that overlaps a better one by more than this goes.
        num_moments: How many are kept at most.

    Returns:
        (K,) int64 indices of the kept moments in descending order of score.
    """
    order = scores.argsort(descending=True, stable=True)
    start, end = moments[order].double().unbind(1)
    groups = groups[order]
    overlap = torch.minimum(end[:, None], end) - torch.maximum(start[:, None], start)
    stretch = torch.maximum(end[:, None], end) - torch.minimum(start[:, None], start)
    rivals = (overlap.clamp(min=0) / stretch > iou_threshold) & (groups[:, None] == groups)
    rivals = rivals.cpu().numpy()
    alive = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    for row in range(len(order)):
        if len(kept) == num_moments:
            break
        if alive[row]:
            kept.append(row)
            alive &= ~rivals[row]
    return order[torch.tensor(kept, dtype=torch.long, device=order.device)]
