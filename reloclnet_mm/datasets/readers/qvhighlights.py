"""Reader of the layout of QVHighlights (Lei et al., NeurIPS 2021)."""

from collections.abc import Iterator

from msgspec import Struct

from reloclnet_mm.datasets.readers.base import AnnotationReader, Duration, Id, Moment, Query, Video
from reloclnet_mm.registry import TASK_UTILS
from reloclnet_mm.utils.json_files import read_jsonl


class _Line(Struct):
    qid: Id
    query: str
    vid: str
    duration: Duration
    relevant_windows: list[tuple[float, float]] = []


@TASK_UTILS.register_module()
class QVHighlightsReader(AnnotationReader):
    """Reads lines ``{qid, query, vid, duration, relevant_windows}``.

    Each window is a right moment of the query in its video; the public test split has none.
    Saliency scores, which are for finding highlights, are not read.
    """

    def _read_videos(self) -> Iterator[Video]:
        for where, line in read_jsonl(self.video_index, _Line):
            yield Video(line.vid, line.duration, where=where)

    def _read_queries(self) -> Iterator[Query]:
        for where, line in read_jsonl(self.ann_file, _Line):
            yield Query(
                line.qid,
                line.query.strip(),
                where,
                video_name=line.vid,
                moments=[Moment(*window) for window in line.relevant_windows],
            )
