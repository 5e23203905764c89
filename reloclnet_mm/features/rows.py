"""Arithmetic of feature rows: pooling, normalizing, positions."""

import itertools

import numpy as np

NORM_EPS = 1e-5
TEF_CHANNELS = 2
"""Number of columns of :func:`temporal_endpoints`."""


def pool_rows(rows: np.ndarray, max_rows: int) -> np.ndarray:
    """Mean-pool to at most ``max_rows`` rows.

    Row i is the mean of rows [b_i, b_{i+1}), or row b_i where that range is empty, with
    b_i = round(i · L / max_rows), half to even, at most L − 1.

    Args:
        rows: (L, channels).
        max_rows: Rows to leave.

    Returns:
        (min(L, max_rows), channels).
    """
    length = len(rows)
    if length <= max_rows:
        return rows
    bounds = np.round(np.arange(max_rows + 1) * length / max_rows).astype(int)
    bounds = np.minimum(bounds, length - 1)
    return np.stack(
        [rows[first : max(last, first + 1)].mean(0) for first, last in itertools.pairwise(bounds)]
    )


def normalize_rows(rows: np.ndarray, eps: float = NORM_EPS) -> np.ndarray:
    """Each row divided by its L2 norm + eps.

    Args:
        rows: (L, channels).
        eps: Keeps rows of zeros as they are.
    """
    return rows / (np.linalg.norm(rows, axis=-1, keepdims=True) + eps)


def temporal_endpoints(length: int) -> np.ndarray:
    """The temporal endpoint features (TEF) of a video's clips.

    Args:
        length: L, clips.

    Returns:
        (L, TEF_CHANNELS) float32, [i / L, (i + 1) / L].
    """
    start = np.arange(length, dtype=np.float32) / length
    return np.stack([start, start + np.float32(1 / length)], 1)
