"""From seconds to clips."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

SpanEnd = Literal['official', 'inclusive']
"""Which clip the end of a moment is predicted at.

``inclusive``: the last clip of the moment. A moment of the clips i to j is answered as [i, j + 1]
in clips, so that it may end with the video. ``official``: the clip that follows, or the last of the
video, as in the authors' programs. Then [i, j] is answered, and the last clip of a video never is.
Targets and answers must have the same.
"""

SPAN_ENDS: tuple[SpanEnd, ...] = ('official', 'inclusive')


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


def moment_to_span(
    moment: ArrayLike, seconds_per_clip: float, num_clips: int, span_end: SpanEnd = 'official'
) -> tuple[int, int]:
    """Return the clips at which the start and the end of a moment are to be predicted.

    Args:
        moment: [start, end] in seconds.
        seconds_per_clip: Seconds of a clip.
        num_clips: Clips of the video.
        span_end: See :data:`SpanEnd`.

    Returns:
        floor(start) in clips and ceil(end), or ceil(end) − 1 for ``inclusive``, each at most the
        last clip, the second no smaller than the first.
    """
    start, end = in_clips(moment, seconds_per_clip)
    last = num_clips - 1
    first = min(int(np.floor(start)), last)
    return first, max(first, min(int(np.ceil(end)) - (span_end == 'inclusive'), last))


def clip_ranges(
    moments: NDArray, clip_length: float, num_clips: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tell in which clips sentences are said.

    A sentence counts for every clip that it overlaps by more than nothing. One without length
    counts for the clip in which it starts, at the end of the video for the last.

    Args:
        moments: (S, 2) start and end of each sentence in seconds.
        clip_length: Seconds of a clip.
        num_clips: Number C of clips.

    Returns:
        (S,) the first clip, and (S,) the clip behind the last; they may lie outside of the video.
    """
    start, end = in_clips(moments, clip_length).T
    first = np.where((start == end) & (start == num_clips), num_clips - 1, np.floor(start))
    return first, np.where(start == end, first + 1, np.ceil(end))


def clip_membership(moments: NDArray, clip_length: float, num_clips: int) -> NDArray[np.bool_]:
    """Tell which sentences are said in which clips; see :func:`clip_ranges`.

    Args:
        moments: (S, 2) start and end of each sentence in seconds.
        clip_length: Seconds of a clip.
        num_clips: Number C of clips.

    Returns:
        (C, S) bool.
    """
    first, after = clip_ranges(moments, clip_length, num_clips)
    clips = np.arange(num_clips)[:, None]
    return (first <= clips) & (clips < after)
