"""Reader of the layout of DiDeMo (Hendricks et al., ICCV 2017)."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from reloclnet_mm.datasets.readers.base import AnnotationReader, Id, Moment, Query, Video
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import TASK_UTILS
from reloclnet_mm.utils.json_files import read_json_list

CELL = 5.0
"""Seconds of a cell, in which the annotators chose moments."""


class _Entry(Struct):
    annotation_id: Id
    description: str
    video: str
    num_segments: Annotated[int, Meta(ge=1, le=1_000)]
    times: list[tuple[int, int]] = []


@TASK_UTILS.register_module()
class DiDeMoReader(AnnotationReader):
    """Reads a list of ``{annotation_id, description, video, num_segments, times}``.

    An annotator's first and last cell [a, b] of ``times`` become the moment [5a, 5(b + 1)] in
    seconds, with the annotator's place in the list. The annotation has no durations: a video lasts
    5 s times ``num_segments``, 25 or 30 s in the release, whose longer videos are cut to 30 s.
    """

    def _read_videos(self) -> Iterator[Video]:
        for where, entry in read_json_list(self.video_index, _Entry):
            yield Video(entry.video, CELL * entry.num_segments, where=where)

    def _read_queries(self) -> Iterator[Query]:
        for where, entry in read_json_list(self.ann_file, _Entry):
            for first, last in entry.times:
                if not 0 <= first <= last < entry.num_segments:
                    raise InputError(
                        f'{where}: found the cells [{first}, {last}] among times, expected a first '
                        f'and a last one of the cells 0 to {entry.num_segments - 1}; mend it'
                    )
            yield Query(
                entry.annotation_id,
                entry.description.strip(),
                where,
                video_name=entry.video,
                moments=[
                    Moment(CELL * first, CELL * (last + 1), annotator=number)
                    for number, (first, last) in enumerate(entry.times)
                ],
            )
