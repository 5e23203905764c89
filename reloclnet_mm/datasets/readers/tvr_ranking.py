"""Reader of the layout of TVR-Ranking (Liang et al., 2024, arXiv:2407.06597)."""

from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta, Struct

from reloclnet_mm.datasets.readers.base import AnnotationReader, Duration, Id, Moment, Query, Video
from reloclnet_mm.datasets.readers.tvr import IndexEntry
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import TASK_UTILS
from reloclnet_mm.utils.checks import check_number
from reloclnet_mm.utils.json_files import check, read_json, read_json_list

_Relevance = Annotated[float, Meta(ge=0, le=100)]


class _Moment(Struct):
    video_name: str
    timestamp: tuple[float, float]
    duration: Duration
    similarity: float | None = None
    relevance: _Relevance | None = None


class _Entry(Struct):
    query_id: Id | str
    query: str
    relevant_moment: list[_Moment]


@TASK_UTILS.register_module()
class TVRRankingReader(AnnotationReader):
    """Reads a list of ``{query_id, query, relevant_moment}``: queries with moments of many videos.

    A moment has ``video_name``, ``timestamp``, ``duration`` and, in the validation and the test
    file, ``relevance``, a mean of people's choices from 0 (not relevant) to 4. The training files
    were chosen by ``similarity``, from 0 to 1, between the query and the moment's caption; it is
    the relevance there. A query has no video of its own.

    ``video_index`` is the corpus: ``{video: duration in seconds}`` or ``{video: [duration,
    number]}``. Without it the videos are those that the moments name.

    Args:
        min_relevance: Leave out and count moments of a lower relevance, and queries that have no
            other. 0 keeps those that were judged not relevant, as the authors' NDCG has it; for
            recalls they are not right.
        **others: Passed to :class:`AnnotationReader`.
    """

    def __init__(self, *, min_relevance: float = 0.0, **others: Any) -> None:
        super().__init__(**others)
        check_number('TVRRankingReader: min_relevance', min_relevance, low=0)
        self.min_relevance = min_relevance

    def _read_videos(self) -> Iterator[Video]:
        if self.video_index == self.ann_file:
            for where, entry in read_json_list(self.ann_file, _Entry):
                for moment in entry.relevant_moment:
                    yield Video(moment.video_name, moment.duration, where=where)
            return
        for name, content in read_json(self.video_index, dict[str, Any]).items():
            where = f'{self.video_index}: video {name!r}'
            if isinstance(content, list):
                entry = check(content, IndexEntry, where)
                yield Video(name, entry.duration, entry.video_id, where=where)
            else:
                yield Video(name, check(content, Duration, where), where=where)

    def _read_queries(self) -> Iterator[Query]:
        for where, entry in read_json_list(self.ann_file, _Entry):
            moments = [_moment(moment, where) for moment in entry.relevant_moment]
            kept = [moment for moment in moments if moment.relevance >= self.min_relevance]
            dropped = len(moments) - len(kept)
            if dropped:
                self.repairs['a moment below min_relevance was left out'] += dropped
            if kept or not moments:
                yield Query(entry.query_id, entry.query.strip(), where, moments=kept)


def _moment(moment: _Moment, where: str) -> Moment:
    relevance = moment.similarity if moment.relevance is None else moment.relevance
    if relevance is None:
        raise InputError(
            f'{where}: the moment {list(moment.timestamp)} in video {moment.video_name!r} has '
            'neither relevance nor similarity, expected one of them; mend or remove it'
        )
    return Moment(*moment.timestamp, video_name=moment.video_name, relevance=relevance)
