"""From seconds to clips."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def in_clips(seconds: ArrayLike, clip_length: float) -> NDArray[np.float64]:
    """Return times in clips, to a millionth of a clip.

    A time on a boundary between clips is a whole number: 6.3 / 2.1 is 3.0000000000000004 in
    floating point, and 3 clips here.

    Args:
        seconds: Times of any shape.
        clip_length: Seconds of a clip.
    """
    return np.round(np.asarray(seconds, np.float64) / clip_length, 6)


def count_clips(duration: float, clip_length: float) -> int:
    """Return the number of clips that cover a video, at least one.

    Args:
        duration: Seconds of the video.
        clip_length: Seconds of a clip.
    """
    return max(1, int(np.ceil(in_clips(duration, clip_length))))


def goes_with_duration(num_clips: int, clip_length: float, duration: float) -> bool:
    """Tell whether clips cover a video, within two clips or 5 % of it, whichever is more.

    Feature files may be a clip or two off, and decoders differ about the end of long videos.

    Args:
        num_clips: Clips of the video.
        clip_length: Seconds of a clip.
        duration: Seconds of the video.
    """
    difference = abs(num_clips * clip_length - duration)
    return difference <= max(2 * clip_length, 0.05 * duration) + 1e-6


def moment_to_span(moment: ArrayLike, seconds_per_clip: float, num_clips: int) -> tuple[int, int]:
    """Return the first and the last clip of a moment.

    Args:
        moment: [start, end] in seconds.
        seconds_per_clip: Seconds of a clip.
        num_clips: Clips of the video.

    Returns:
        floor(start) and ceil(end) in clips, each at most the last clip, as the authors' program
        has it.
    """
    start, end = in_clips(moment, seconds_per_clip)
    return min(int(np.floor(start)), num_clips - 1), min(int(np.ceil(end)), num_clips - 1)


def clip_membership(moments: NDArray, clip_length: float, num_clips: int) -> NDArray[np.bool_]:
    """Tell which sentences are said in which clips.

    A sentence counts for every clip that it overlaps by more than nothing. One without length
    counts for the clip in which it starts, at the end of the video for the last.

    Args:
        moments: (S, 2) start and end of each sentence in seconds.
        clip_length: Seconds of a clip.
        num_clips: Number C of clips.

    Returns:
        (C, S) bool.
    """
    start, end = in_clips(moments, clip_length).T
    first = np.where((start == end) & (start == num_clips), num_clips - 1, np.floor(start))
    after = np.where(start == end, first + 1, np.ceil(end))
    clips = np.arange(num_clips)[:, None]
    return (first <= clips) & (clips < after)
