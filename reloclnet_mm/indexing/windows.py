"""Long videos as windows that overlap, and moments of windows as moments of videos."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reloclnet_mm.errors import InputError


class Windows(NamedTuple):
    """How videos are divided.

    Attributes:
        clips: Clips of a window.
        stride: Clips from the begin of a window to that of the next; at most ``clips``.
    """

    clips: int
    stride: int

    def check(self) -> 'Windows':
        """Return itself.

        Raises:
            InputError: Clips between windows would be in none.
        """
        if not 1 <= self.stride <= self.clips:
            raise InputError(
                f'windows: found clips={self.clips} and stride={self.stride}, expected '
                '1 <= stride <= clips; correct them in the config'
            )
        return self

    def starts(self, num_clips: int) -> list[int]:
        """List the first clip of each window of a video; the last window ends with the video.

        Args:
            num_clips: Clips of the video.
        """
        last = max(0, num_clips - self.clips)
        return [*range(0, last, self.stride), last]


class FoundMoment(NamedTuple):
    """A moment of a video.

    Attributes:
        video: Name of the video.
        start: Seconds.
        end: Seconds.
        score: Score, at least 0.
        window: Id of the window that it was found in.
    """

    video: str
    start: float
    end: float
    score: float
    window: int


def shared_part(one: FoundMoment, other: FoundMoment) -> float:
    """Compute how much of the shorter of two moments of a video lies in the other, 0 to 1."""
    overlap = min(one.end, other.end) - max(one.start, other.start)
    shorter = min(one.end - one.start, other.end - other.start)
    return max(0.0, overlap) / shorter if shorter > 0 else float(overlap >= 0)


def distinct_moments(moments: Iterable[FoundMoment], most_shared: float) -> Iterator[FoundMoment]:
    """Yield the moments that share little with those before them in the same video.

    Args:
        moments: Best first; windows that overlap find the same moment.
        most_shared: How much of the shorter of two moments may lie in the other, 0 to 1.
    """
    kept: dict[str, list[FoundMoment]] = {}
    for moment in moments:
        others = kept.setdefault(moment.video, [])
        if all(shared_part(moment, other) <= most_shared for other in others):
            others.append(moment)
            yield moment
