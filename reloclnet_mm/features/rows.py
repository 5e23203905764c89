"""Arithmetic of feature rows: pooling, normalizing, positions."""

import numpy as np

from reloclnet_mm.structures.clips import count_clips

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
    sizes = np.maximum(np.diff(bounds), 1)
    pooled = np.empty((max_rows, rows.shape[1]), rows.dtype)
    for size in np.unique(sizes):
        first = bounds[:-1][sizes == size]
        pooled[sizes == size] = rows[first[:, None] + np.arange(size)].mean(1)
    return pooled


def resample_rows(rows: np.ndarray, duration: float, clip_length: float) -> np.ndarray:
    """Average rows that divide a video evenly into clips of a fixed length.

    Args:
        rows: (L, channels); row i is of the seconds [i, i + 1) · duration / L.
        duration: Seconds of the video.
        clip_length: Seconds of a clip; the last one ends with the video.

    Returns:
        (ceil(duration / clip_length), channels) float32: the mean of the rows over each clip,
        weighted by the time that they share with it.
    """
    num_clips = count_clips(duration, clip_length)
    bounds = np.minimum(np.arange(num_clips + 1) * clip_length, duration)
    bounds[-1] = duration
    places = bounds * (len(rows) / duration)
    whole = np.minimum(places.astype(int), len(rows) - 1)
    sums = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, 0, np.float64)])
    integral = sums[whole] + (places - whole)[:, None] * rows[whole]
    return (np.diff(integral, axis=0) / np.diff(places)[:, None]).astype(np.float32)


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
