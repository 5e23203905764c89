"""What extractors see of a video."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reloclnet_mm.extraction.subtitles import TimedSentence


@dataclass(frozen=True)
class VideoContent:
    """A video, and what is said in it.

    Attributes:
        path: Its file; where there are subtitles only, theirs.
        duration: Seconds.
        has_pictures: Whether the file has them.
        sentences: What is said, by time.
    """

    path: Path
    duration: float
    has_pictures: bool
    sentences: Sequence[TimedSentence]
