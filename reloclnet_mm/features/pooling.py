"""From token features of timed sentences to one row a clip."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from reloclnet_mm.errors import InputError

PoolMode = Literal['max', 'mean']


def count_clips(duration: float, clip_length: float) -> int:
    """The number of clips that cover a video, at least one.

    Args:
        duration: Seconds.
        clip_length: Seconds.
    """
    # 6.3 / 2.1 is 3.0000000000000004 in floating point, yet three clips
    return max(1, math.ceil(round(duration / clip_length, 6)))


def clip_membership(moments: np.ndarray, clip_length: float, num_clips: int) -> np.ndarray:
    """Which sentences are said in which clips.

    A sentence counts for every clip ``[i, i + 1] * clip_length`` that it overlaps by more
    than nothing; one without length for the clip it lies in, the end of the video for the last.

    Args:
        moments: (S, 2) start and end of each sentence in seconds.
        clip_length: Seconds.
        num_clips: C.

    Returns:
        (C, S) bool.
    """
    edges = np.arange(num_clips + 1) * clip_length
    start, end = moments[:, 0], moments[:, 1]
    overlap = np.minimum(edges[1:, None], end) - np.maximum(edges[:-1, None], start)
    members = overlap > 0
    instants = np.flatnonzero((start == end) & (start <= edges[-1]))
    clips = np.searchsorted(edges, start[instants], side='right') - 1
    members[np.minimum(clips, num_clips - 1), instants] = True
    return members


def pool_sentences(
    token_features: Sequence[np.ndarray], members: np.ndarray, mode: PoolMode, width: int
) -> np.ndarray:
    """Pool over all token rows of all sentences of each clip.

    Args:
        token_features: For each of S sentences (tokens, width).
        members: (C, S) bool from :func:`clip_membership`.
        mode: ``max`` or ``mean`` over the rows.
        width: Size of a row, for a video without sentences.

    Returns:
        (C, width) float32; zeros for clips without text.
    """
    if mode not in get_args(PoolMode):
        raise InputError(f'pool {mode!r}, expected one of {", ".join(get_args(PoolMode))}')
    pooled = np.zeros((len(members), width), np.float32)
    covered = members.any(1)
    if not covered.any():
        return pooled
    if mode == 'max':
        peaks = np.stack([rows.max(0) for rows in token_features])
        for clip in np.flatnonzero(covered):
            pooled[clip] = peaks[members[clip]].max(0)
    else:
        sums = np.stack([rows.sum(0, dtype=np.float64) for rows in token_features])
        lengths = np.array([len(rows) for rows in token_features])
        weights = members[covered].astype(np.float64)
        pooled[covered] = (weights @ sums) / (weights @ lengths)[:, None]
    return pooled
