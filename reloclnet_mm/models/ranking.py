"""Scores and ranked lists: pure functions of tensors.

Letters of shapes: Q queries, N videos of a corpus, V videos ranked for a query,
L clips, d width, K ranks.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def clip_similarity(queries: Tensor, clips: Tensor, clip_mask: Tensor) -> Tensor:
    """Largest similarity of a query with a valid clip of a video.

    Args:
        queries: (Q, d).
        clips: (N, L, d).
        clip_mask: (N, L) bool.

    Returns:
        (Q, N), max over l of queries[q] · clips[n, l].
    """
    similarity = torch.einsum('qd,nld->qnl', queries, clips)
    return similarity.masked_fill(~clip_mask, float('-inf')).amax(2)


def video_scores(
    queries: Mapping[str, Tensor], clips: Mapping[str, Tensor], clip_mask: Tensor
) -> Tensor:
    """S of the paper: the largest cosine over a video's clips, mean over streams.

    Args:
        queries: Stream name to (Q, d).
        clips: Stream name to (N, L, d).
        clip_mask: (N, L) bool.

    Returns:
        (Q, N).
    """
    scores = [
        clip_similarity(F.normalize(queries[name], dim=-1), F.normalize(x, dim=-1), clip_mask)
        for name, x in clips.items()
    ]
    return torch.stack(scores).mean(0)


def pair_similarity(queries: Mapping[str, Tensor], clips: Mapping[str, Tensor]) -> Tensor:
    """P of the paper for queries, each with its own video.

    Args:
        queries: Stream name to (Q, d), mapped by the span predictor.
        clips: Stream name to (Q, L, d).

    Returns:
        (Q, L), mean over streams of the inner products.
    """
    products = [torch.einsum('qd,qld->ql', queries[name], x) for name, x in clips.items()]
    return torch.stack(products).mean(0)


def similarity_in_videos(
    queries: Mapping[str, Tensor], clips: Mapping[str, Tensor], rows: Tensor
) -> Tensor:
    """P of the paper for queries, each with some videos of a corpus.

    A query at a time: the clips of all queries' videos together would not fit in memory.

    Args:
        queries: Stream name to (Q, d), mapped by the span predictor.
        clips: Stream name to (N, L, d).
        rows: (Q, V) rows of the corpus.

    Returns:
        (Q, V, L), mean over streams of the inner products.
    """
    return torch.stack(
        [
            torch.stack([x[videos] @ queries[name][q] for name, x in clips.items()]).mean(0)
            for q, videos in enumerate(rows)
        ]
    )


def span_logits(similarity: Tensor, clip_mask: Tensor, kernel: Tensor) -> Tensor:
    """A one-channel convolution over clips, zero-padded to keep the length.

    Args:
        similarity: (…, L).
        clip_mask: (…, L) bool, broadcasts against ``similarity``.
        kernel: (1, 1, kernel size), odd.

    Returns:
        The shape of ``similarity``; the dtype's minimum at invalid clips.
    """
    rows = similarity.reshape(-1, 1, similarity.shape[-1])
    logits = F.conv1d(rows, kernel, padding=kernel.shape[-1] // 2).view_as(similarity)
    return logits.masked_fill(~clip_mask, torch.finfo(logits.dtype).min)


def rank_videos(scores: Tensor, num_videos: int) -> tuple[Tensor, Tensor]:
    """The best videos of each query.

    Args:
        scores: (Q, N).
        num_videos: K; all videos where the corpus has fewer.

    Returns:
        Scores (Q, K), descending, and rows of the corpus (Q, K).
    """
    return scores.topk(min(num_videos, scores.shape[1]), dim=1)


def span_scores(
    start_prob: Tensor, end_prob: Tensor, clip_mask: Tensor, min_span: int, max_span: int
) -> Tensor:
    """Products of start and end probabilities, along the allowed diagonals only.

    Args:
        start_prob: (Q, V, L).
        end_prob: (Q, V, L).
        clip_mask: (Q, V, L) bool.
        min_span: Smallest j − i of a span (i, j).
        max_span: Smallest j − i that is too long.

    Returns:
        (Q, V, D, L): [q, v, t, i] is the score of (i, i + min_span + t); −1 where a clip of the
        span is invalid. D is max_span − min_span, or less where videos are shorter.
    """
    length = start_prob.shape[-1]
    diagonals = []
    for width in range(min_span, min(max_span, length)):
        kept = length - width
        product = start_prob[..., :kept] * end_prob[..., width:]
        product = product.masked_fill(~clip_mask[..., width:], -1)
        diagonals.append(F.pad(product, (0, width), value=-1))
    if not diagonals:
        return start_prob.new_full((*start_prob.shape[:2], 0, length), -1)
    return torch.stack(diagonals, 2)


def rank_moments(
    start_prob: Tensor,
    end_prob: Tensor,
    clip_mask: Tensor,
    video_weights: Tensor,
    *,
    min_span: int,
    max_span: int,
    num_moments: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The best moments of each query over all its ranked videos together.

    The score of (video, i, j) is p_st[i] · p_ed[j] · weight(video), with exp(α · s) as weight
    for VCMR and 1 for SVMR.

    Args:
        start_prob: (Q, V, L).
        end_prob: (Q, V, L).
        clip_mask: (Q, V, L) bool.
        video_weights: (Q, V), positive.
        min_span: Smallest j − i.
        max_span: Smallest j − i that is too long.
        num_moments: K; fewer where the videos have not as many spans.

    Returns:
        Scores (Q, K), descending, negative where a query has no more spans;
        columns (Q, K) of the ranked videos; spans (Q, K, 2) in clips.
    """
    scores = span_scores(start_prob, end_prob, clip_mask, min_span, max_span)
    num_widths, length = scores.shape[2:]
    scores = (scores * video_weights[..., None, None]).flatten(1)
    best, index = scores.topk(min(num_moments, scores.shape[1]), dim=1)
    column = index // max(num_widths * length, 1)
    start = index % length
    width = index // length % max(num_widths, 1) + min_span
    return best, column, torch.stack([start, start + width], 2)


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
