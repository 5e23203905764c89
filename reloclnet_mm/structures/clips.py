"""From seconds to clips."""

import math

import numpy as np


def count_clips(duration: float, clip_length: float) -> int:
    """The number of clips that cover a video, at least one.

    Args:
        duration: Seconds.
        clip_length: Seconds.
    """
    # 6.3 / 2.1 is 3.0000000000000004 in floating point, yet three clips
    return max(1, math.ceil(round(duration / clip_length, 6)))


def moment_to_span(moment: np.ndarray, seconds_per_clip: float, num_clips: int) -> tuple[int, int]:
    """The first and the last clip of a moment.

    Args:
        moment: [start, end] in seconds.
        seconds_per_clip: Length of a clip.
        num_clips: Clips of the video.

    Returns:
        floor(start) and ceil(end) in clips, at most the last clip.
    """
    start, end = moment
    return (
        min(math.floor(start / seconds_per_clip), num_clips - 1),
        min(math.ceil(end / seconds_per_clip), num_clips - 1),
    )


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
