"""What a search of own videos answers."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Chosen on held-out talks; docs/own_videos.md has how often it is wrong.
_NULL_RATE = 0.2


@dataclass(frozen=True)
class Hit:
    """A found moment.

    Attributes:
        video: Name of the video in the index.
        path: Its file.
        start: Seconds.
        end: Seconds.
        score: Share of the scores of all moments found for the query, from 0 to 1.
        text: What is said in the moment; empty where nothing is.
        stream_scores: Stream name to the largest cosine of the query and a clip of the moment's
            window, from −1 to 1.
        has_pictures: Whether the file has pictures to show.
    """

    video: str
    path: str
    start: float
    end: float
    score: float
    text: str
    stream_scores: Mapping[str, float]
    has_pictures: bool


class Hits(list[Hit]):
    """The moments found for a query, best first.

    Args:
        hits: The moments.
        query: The query.
        null_rate: Share of queries about other things whose best video in the same index scores at
            least as high as that of this query; None: not known, as where some of the videos were
            searched.
        language: Language that the encoder knows, if the query is not written in its letters.

    Attributes:
        missing: Parts of the index that were not searched, each with the reason; none but of a
            cluster.
    """

    def __init__(
        self,
        hits: Iterable[Hit],
        query: str,
        null_rate: float | None = None,
        language: str | None = None,
    ) -> None:
        super().__init__(hits)
        self.query = query
        self.null_rate = null_rate
        self.language = language
        self.missing: tuple[str, ...] = ()

    @property
    def nothing_relevant(self) -> bool:
        """Whether one of five queries about other things, or more, finds as good a video."""
        return self.null_rate is not None and self.null_rate >= _NULL_RATE

    def notes(self) -> list[str]:
        """Say what a person should know who reads the moments."""
        notes = [f'Not everything was searched: {part}.' for part in self.missing]
        if self.nothing_relevant:
            notes.append(
                f'Perhaps nothing relevant: {100 * self.null_rate:.0f} % of queries about other '
                'things find as good a video here.'
            )
        if self.language is not None:
            notes.append(
                f'The encoder knows {self.language}; in the letters of another language it finds '
                'hardly more than chance.'
            )
        return notes


def is_mostly_latin(text: str) -> bool:
    """Tell whether at least half of the letters of a text are Latin ones.

    Args:
        text: Any text; without letters it is.
    """
    letters = [x for x in text if x.isalpha()]
    latin = sum('LATIN' in unicodedata.name(x, '') for x in letters)
    return 2 * latin >= len(letters)


@dataclass(frozen=True)
class WindowProbabilities:
    """Where in a window a moment begins and ends.

    Attributes:
        start: Begin of the window in seconds.
        clip_seconds: Seconds of a clip.
        begins: Probability of each clip that the moment begins with it.
        ends: Probability of each clip that the moment ends with it.
    """

    start: float
    clip_seconds: float
    begins: list[float]
    ends: list[float]
