"""What all readers of annotation share: records, checks and repairs."""

import logging
import math
import os.path as osp
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from mmengine.logging import print_log
from msgspec import Meta

from reloclnet_mm.datasets.readers.parts import PARTS, names_of_part
from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.checks import check_choice, check_number

END_TOLERANCE = 1.0
"""Seconds that a moment may reach past the end of its video; it is cut there."""

Duration = Annotated[float, Meta(gt=0, le=1e9)]
"""Type of a video's length in a schema, seconds."""

Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""Type of a number that identifies something in a schema."""


@dataclass(frozen=True)
class Video:
    """A video of a corpus.

    Attributes:
        name: Key of its features.
        duration: Seconds.
        video_id: Number by which predictions name it; None: its place among the videos.
        source_id: Number that videos made of the same recording share; None: ``video_id``.
        where: File and key, for messages.
    """

    name: str
    duration: float
    video_id: int | None = None
    source_id: int | None = None
    where: str = field(default='', compare=False)


@dataclass(frozen=True)
class Moment:
    """A right answer to a query.

    Attributes:
        start: Seconds.
        end: Seconds.
        video_name: Its video; None: the query's own.
        annotator: Number of the person who chose it.
        relevance: How well it answers the query.
    """

    start: float
    end: float
    video_name: str | None = None
    annotator: int | None = None
    relevance: float | None = None


@dataclass(frozen=True)
class Query:
    """A sentence with its right answers.

    Attributes:
        query_id: Key of its features.
        text: The sentence.
        where: File and line or key, for messages.
        query_type: What the sentence is about, where the annotation tells.
        video_name: The video that it was written for; None: unknown.
        moments: Right answers; none where they are unknown.
    """

    query_id: int | str
    text: str
    where: str
    query_type: str | None = None
    video_name: str | None = None
    moments: Sequence[Moment] = ()

    @property
    def first_video(self) -> str | None:
        """The video that it was written for, else that of its first moment."""
        first = next(iter(self.moments), None)
        return self.video_name or (first and first.video_name)


class AnnotationReader(ABC):
    """Reads the videos and queries of one layout of annotation, and checks and repairs them.

    A subclass yields what is in the files; everything that has to hold in any layout is checked
    here. Without ``video_index`` the videos are those of ``ann_file``.

    Args:
        ann_file: File of the queries.
        video_index: File of the videos.
        data_root: Folder of both.
        end_tolerance: Seconds that a moment may reach past the end of its video; it is cut there
            and counted. Beyond, it is an error.
        drop_unusable: Leave out and count moments that cannot be repaired, instead of an error.
        part: Read the videos of a part and their queries only: ``held_out``, to choose settings and
            the best epoch on, or ``fit``, all others. The name of a video decides, and videos of
            one recording stay together. A query is in the part of its own video, else of that of
            its first moment; moments in videos that are not read are left out and counted. None:
            all.
        held_out: Expected share of the videos that are in the part ``held_out``.
        recordings_once: Read of each recording only the video whose number it has, and the queries
            of that, for a corpus in which other videos of a recording would be right too.

    Attributes:
        repairs: How many moments :meth:`queries` repaired or left out, by what was wrong.
    """

    swaps_times = False
    """Whether moments whose end comes before their start are known in this layout."""

    def __init__(
        self,
        *,
        ann_file: str = '',
        video_index: str = '',
        data_root: str = '',
        end_tolerance: float = END_TOLERANCE,
        drop_unusable: bool = False,
        part: Literal['fit', 'held_out'] | None = None,
        held_out: float = 0.1,
        recordings_once: bool = False,
    ) -> None:
        name = type(self).__name__
        check_number(f'{name}: end_tolerance', end_tolerance, low=0)
        check_choice(f'{name}: part', part, (None, *PARTS))
        check_number(f'{name}: held_out', held_out, above=0, below=1)
        if not (ann_file or video_index):
            raise ValueError(f'{name}: expected ann_file (queries), video_index (videos) or both')
        self.ann_file = ann_file and osp.join(data_root, ann_file)
        self.video_index = osp.join(data_root, video_index or ann_file)
        self.end_tolerance = end_tolerance
        self.drop_unusable = drop_unusable
        self.part = part
        self.held_out = held_out
        self.recordings_once = recordings_once
        self.repairs: Counter[str] = Counter()
        self._left_out: Set[str] = frozenset()

    @abstractmethod
    def _read_videos(self) -> Iterator[Video]:
        """Yield the videos of ``self.video_index``."""

    @abstractmethod
    def _read_queries(self) -> Iterator[Query]:
        """Yield the queries of ``self.ann_file``."""

    def videos(self) -> dict[str, Video]:
        """Return the videos by name, in the order of the file, each with its number.

        Raises:
            InputError: The file cannot be used, has no video, none of the part, or names one twice.
        """
        videos = self._all_videos()
        if self._is_whole:
            return videos
        names = set(videos)
        if self.part is not None:
            names = names_of_part(videos, self.part, self.held_out)
        if self.recordings_once:
            names = {name for name in names if videos[name].source_id == videos[name].video_id}
        self._left_out = videos.keys() - names
        if not names:
            raise InputError(f'{self.video_index}: none of its {len(videos)} videos {self._advice}')
        return {name: video for name, video in videos.items() if name in names}

    @property
    def _is_whole(self) -> bool:
        return self.part is None and not self.recordings_once

    @property
    def _advice(self) -> str:
        """End of a message that a part is empty."""
        return (
            f'is in the part {self.part!r} with held_out={self.held_out} and recordings_once='
            f'{self.recordings_once}; change held_out in all readers of this annotation, or use '
            'more videos'
        )

    def _all_videos(self) -> dict[str, Video]:
        videos: dict[str, Video] = {}
        names: dict[int, str] = {}
        for video in self._read_videos():
            if not 0 < video.duration < math.inf:
                raise InputError(
                    f'{video.where}: found a duration of {video.duration} s, expected a positive '
                    'number; mend or remove the entry'
                )
            number = video.video_id
            if number is None:
                number = videos[video.name].video_id if video.name in videos else len(videos)
            source = number if video.source_id is None else video.source_id
            video = replace(video, video_id=number, source_id=source)
            if videos.setdefault(video.name, video) != video:
                raise InputError(
                    f'{video.where}: video {video.name!r} lasts {video.duration} s here and '
                    f'{videos[video.name].duration} s in another place; mend one of them'
                )
            other = names.setdefault(video.video_id, video.name)
            if other != video.name:
                raise InputError(
                    f'{video.where}: videos {other!r} and {video.name!r} have the index '
                    f'{video.video_id} both; expected one of its own for each, for predictions '
                    'name a video by it. Mend one'
                )
        if not videos:
            raise InputError(f'{self.video_index}: no video in the file; give one with videos')
        return videos

    def texts(self) -> dict[str, str]:
        """Return the stripped text of each query by ``str(query_id)``, the key of its features.

        Raises:
            InputError: The file cannot be used, has no query, or names one twice.
        """
        return {str(query.query_id): query.text.strip() for query in self._unique_queries()}

    def queries(self, videos: dict[str, Video]) -> list[Query]:
        """Return the queries with moments that lie inside their videos; log what was repaired.

        Args:
            videos: Videos by name that a query may name; of a part, what :meth:`videos` returned.

        Raises:
            InputError: The file or a query cannot be used, or none is of the part.
        """
        self.repairs.clear()
        queries = []
        for query in self._queries_of_part():
            if query.video_name is not None:
                self._find(query.video_name, videos, query.where)
            moments = [self._repaired(moment, query, videos) for moment in query.moments]
            kept = [moment for moment in moments if moment is not None]
            if kept or not moments:
                queries.append(replace(query, moments=kept))
        if not queries:
            raise InputError(f'{self.ann_file}: no query in the file can be used; mend the moments')
        for what, count in self.repairs.items():
            print_log(f'{self.ann_file}: {what}: {count}', 'current', logging.WARNING)
        return queries

    def _queries_of_part(self) -> list[Query]:
        queries = list(self._unique_queries())
        if self._is_whole:
            return queries
        found = [query for query in map(self._in_part, queries) if query is not None]
        if not found:
            raise InputError(f'{self.ann_file}: none of its {len(queries)} queries {self._advice}')
        return found

    def _in_part(self, query: Query) -> Query | None:
        """Return a query with its moments in videos that are read; None: it is left out."""
        if query.first_video is None:
            raise InputError(
                f'{query.where}: query {query.query_id!r} has no video and no moment, by which it '
                f'would be left out or not; read the whole annotation (part=None, '
                'recordings_once=False)'
            )
        if query.first_video in self._left_out:
            return None
        moments = [x for x in query.moments if x.video_name not in self._left_out]
        others = len(query.moments) - len(moments)
        if others:
            self.repairs['a moment in a video that is not read was left out'] += others
        return replace(query, moments=moments) if moments or not others else None

    def _unique_queries(self) -> Iterator[Query]:
        places: dict[str, str] = {}
        for query in self._read_queries():
            first = places.setdefault(str(query.query_id), query.where)
            if first is not query.where:
                raise InputError(
                    f'{query.where}: query id {query.query_id!r} is that of {first} too; expected '
                    'each id once, for features and predictions are found by it. Renumber or '
                    'remove one'
                )
            if not query.text.strip():
                raise InputError(
                    f'{query.where}: query {query.query_id!r} has no words; give it some or '
                    'remove it'
                )
            yield query
        if not places:
            raise InputError(f'{self.ann_file}: no query in the file; give one with queries')

    def _find(self, name: str, videos: dict[str, Video], where: str) -> Video:
        if name not in videos:
            raise InputError(
                f'{where}: video {name!r} is not among the {len(videos)} videos of '
                f'{self.video_index}{self._which()}; use those that go with the annotation, or '
                'remove the query'
            )
        return videos[name]

    def _which(self) -> str:
        """Say which part of ``video_index`` is read, for messages."""
        return ''

    def _repaired(self, moment: Moment, query: Query, videos: dict[str, Video]) -> Moment | None:
        name = moment.video_name or query.video_name
        if name is None:
            raise InputError(f'{query.where}: has a moment and no video; mend or remove the query')
        duration = self._find(name, videos, query.where).duration
        start, end = moment.start, moment.end
        if end < start and self.swaps_times:
            start, end = end, start
            self.repairs['start and end of a moment were swapped'] += 1
        problem = self._problem(start, end, duration)
        if problem and not self.drop_unusable:
            raise InputError(f'{query.where}: {problem}; mend or remove it')
        if problem:
            self.repairs['a moment that cannot be used was left out'] += 1
            return None
        if end > duration:
            self.repairs['a moment past the end of its video was cut'] += 1
        return replace(moment, start=start, end=min(end, duration), video_name=name)

    def _problem(self, start: float, end: float, duration: float) -> str:
        """Say why a moment cannot be used; nothing if it can."""
        if not end >= start:
            return f'the moment [{start}, {end}] ends before it starts'
        if start < 0 or start >= duration or end > duration + self.end_tolerance:
            return (
                f'the moment [{start}, {end}] lies outside its video of {duration} s (an end up '
                f'to {self.end_tolerance} s past it is cut)'
            )
        return ''
