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


class _IndexEntry(Struct, array_like=True, forbid_unknown_fields=True):
    duration: Duration
    video_id: Id
    source_id: Id | None = None


@TASK_UTILS.register_module()
class TVRReader(AnnotationReader):
    """Reads TVR's annotation and its video index.

    A line of the annotation is a query: ``desc``, ``desc_id`` and, where the answer is known,
    ``vid_name``, ``ts`` ([start, end] in seconds, or a list of such pairs, one an annotator) and
    ``type``. The index is ``{split: {video: [duration in seconds, number]}}``; a third number
    after these two names the recording, where several videos are made of one.

    Args:
        split: Split of the video index; None: the videos of all splits, numbered anew.
        **others: Passed to :class:`AnnotationReader`.
    """

    def __init__(self, *, split: str | None = None, **others: Any) -> None:
        super().__init__(**others)
        self.split = split

    def _read_videos(self) -> Iterator[Video]:
        index = read_json(self.video_index, dict[str, dict[str, Any]])
        if self.split not in (None, *index):
            raise InputError(
                f'{self.video_index}: found the splits {sorted(index)}, expected a split '
                f"{self.split!r}; set the reader's split to one that the file has"
            )
        for split in index if self.split is None else [self.split]:
            for name, content in index[split].items():
                where = f'{self.video_index}: video {name!r} of split {split!r}'
                entry = check(content, _IndexEntry, where)
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
        return f', split {self.split!r}'


def _moments(times: list[float | tuple[float, float]], where: str) -> list[Moment]:
    if times and all(isinstance(pair, tuple) for pair in times):
        return [Moment(*pair, annotator=number) for number, pair in enumerate(times)]
    return [Moment(*check(times, tuple[float, float], f'{where}: ts, expected [start, end]'))]
