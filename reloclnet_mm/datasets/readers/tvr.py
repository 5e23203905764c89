"""Reader of the layout of TVR (Lei et al., ECCV 2020)."""

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from reloclnet_mm.datasets.readers.base import AnnotationReader, Duration, Id, Moment, Query, Video
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import TASK_UTILS
from reloclnet_mm.utils.json_files import check, read_json, read_jsonl


class _Line(Struct):
    desc: str
    desc_id: Id | str
    vid_name: str | UnsetType = UNSET
    ts: list[float | tuple[float, float]] | UnsetType = UNSET
    type: str | UnsetType = UNSET


class _VideoLine(Struct):
    vid_name: str | UnsetType = UNSET
    duration: Duration | UnsetType = UNSET


class IndexEntry(Struct, array_like=True, forbid_unknown_fields=True):
    """``[duration in seconds, number, number of the recording]`` of a video, the last optional."""

    duration: Duration
    video_id: Id
    source_id: Id | None = None


@TASK_UTILS.register_module()
class TVRReader(AnnotationReader):
    """Reads TVR's annotation and its video index, or own data with the same field names.

    A line of the annotation is a query: ``desc``, ``desc_id`` and, where the answer is known,
    ``vid_name``, ``ts`` ([start, end] in seconds, or a list of such pairs, one an annotator) and
    ``type``. An id is a number or a text of its own among all files that share a feature file.

    The index is ``{split: {video: [duration in seconds, number]}}``; a third number after these
    two names the recording, where several videos are made of one. It may also be a ``.jsonl``
    file, a line a video with ``vid_name`` and ``duration`` in seconds, numbered by place. Without
    an index the videos are those of the annotation, whose lines must have these two fields then.

    Args:
        split: Split of the video index; None: the videos of all splits, numbered anew. Lines have
            no splits.
        **others: Passed to :class:`AnnotationReader`.
    """

    def __init__(self, *, split: str | None = None, **others: Any) -> None:
        super().__init__(**others)
        index = others.get('video_index')
        self._has_lines = not index or index.endswith('.jsonl')
        if self._has_lines and split is not None:
            raise ValueError(
                f'TVRReader: split is {split!r}, and {self.video_index} has a line a video and no '
                'splits; set split=None, or video_index to a file with splits'
            )
        self.split = split

    def _read_videos(self) -> Iterator[Video]:
        return self._read_lines() if self._has_lines else self._read_index()

    def _read_lines(self) -> Iterator[Video]:
        for where, line in read_jsonl(self.video_index, _VideoLine):
            if UNSET in (line.vid_name, line.duration):
                raise InputError(
                    f'{where}: found no vid_name or no duration, expected both, for the list of '
                    'videos is made of these lines; add them, or set video_index of the reader to '
                    'a file of the videos'
                )
            yield Video(line.vid_name, line.duration, where=where)

    def _read_index(self) -> Iterator[Video]:
        index = read_json(self.video_index, dict[str, dict[str, Any]])
        if self.split not in (None, *index):
            raise InputError(
                f'{self.video_index}: found the splits {sorted(index)}, expected a split '
                f"{self.split!r}; set the reader's split to one that the file has"
            )
        for split in index if self.split is None else [self.split]:
            for name, content in index[split].items():
                where = f'{self.video_index}: video {name!r} of split {split!r}'
                entry = check(content, IndexEntry, where)
                numbers = () if self.split is None else (entry.video_id, entry.source_id)
                yield Video(name, entry.duration, *numbers, where=where)

    def _read_queries(self) -> Iterator[Query]:
        for where, line in read_jsonl(self.ann_file, _Line):
            yield Query(
                line.desc_id,
                line.desc,
                where,
                query_type=line.type or None,
                video_name=None if line.vid_name is UNSET else line.vid_name,
                moments=[] if line.ts is UNSET else _moments(line.ts, where),
            )

    def _which(self) -> str:
        return '' if self._has_lines else f', split {self.split!r}'


def _moments(times: list[float | tuple[float, float]], where: str) -> list[Moment]:
    if times and all(isinstance(pair, tuple) for pair in times):
        return [Moment(*pair, annotator=number) for number, pair in enumerate(times)]
    return [Moment(*check(times, tuple[float, float], f'{where}: ts, expected [start, end]'))]
