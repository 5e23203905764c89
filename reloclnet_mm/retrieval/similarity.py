"""Scores of videos, clips and spans: pure functions of tensors.

Letters of shapes: B samples of a batch, Q queries, P pairs of a query and a video, N videos, R rows
of their clips, L clips of a video, d width.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reloclnet_mm.structures.packed_rows import RowLayout


def inverse_norm(x: Tensor) -> Tensor:
    """Compute (R,) factors that make unit vectors of the rows of (R, d), as ``F.normalize``."""
    return torch.linalg.vector_norm(x, dim=1).clamp(min=1e-12).reciprocal()


def video_scores(
    queries: Mapping[str, Tensor], clips: Mapping[str, Tensor], layout: RowLayout
) -> Tensor:
    """Compute s of the paper: the largest cosine over a video's clips, mean over streams.

    Args:
        queries: Stream name to (Q, d).
        clips: Stream name to (R, d).
        layout: Layout of the R rows.

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
    """Compute the inner products of all clips with all queries.

    Args:
        queries: Stream name to (Q, d).
        clips: Stream name to (R, d).

    Returns:
        Stream name to (R, Q).
    """
    return {name: clips[name] @ x.T for name, x in queries.items()}


def largest_similarity(similarity: Mapping[str, Tensor], layout: RowLayout) -> Tensor:
    """Compute the largest similarity over a video's clips, mean over streams.

    Args:
        similarity: Stream name to (R, Q).
        layout: Layout of the R rows.

    Returns:
        (Q, N).
    """
    return torch.stack([layout.largest(x) for x in similarity.values()]).mean(0).T


def similarity_in_own_video(similarity: Tensor, rows: Tensor) -> Tensor:
    """Pick the similarity of each sample's query and the clips of its own video.

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
    """Compute start and end logits.

    Args:
        similarity: (P, L), p of the paper; what is at invalid clips enters the convolution.
        clip_mask: (P, L) bool.
        convolutions: (L, 2 · L), :func:`convolution_matrix` for starts and ends.

    Returns:
        Two (P, L); the minimum of the dtype at invalid clips.
    """
    start, end = (similarity @ convolutions).chunk(2, 1)
    least = torch.finfo(start.dtype).min
    return start.masked_fill(~clip_mask, least), end.masked_fill(~clip_mask, least)


def convolution_matrix(kernels: Tensor, length: int) -> Tensor:
    """Write zero-padded convolutions as a matrix, which is faster for many short rows.

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
    """Suppress moments that overlap a better one of the same video too much, greedily.

    Args:
        moments: (M, 2) seconds.
        scores: (M,), any order.
        groups: (M,), the video of each moment.
        iou_threshold: A moment is dropped if its IoU with a better one is larger.
        num_moments: How many to keep at most.

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
