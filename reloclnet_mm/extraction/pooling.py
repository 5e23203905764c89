"""From token features of timed sentences to one row a clip."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from reloclnet_mm.errors import InputError

PoolMode = Literal['max', 'mean']


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
