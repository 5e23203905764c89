"""Reader of the layout of Charades-STA (Gao et al., ICCV 2017)."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from reloclnet_mm.datasets.readers.base import AnnotationReader, Duration, Moment, Query, Video
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import TASK_UTILS
from reloclnet_mm.utils.fileio import read_text
from reloclnet_mm.utils.json_files import check, read_json

_NUMBER = r'(\d+(?:\.\d+)?)'
_LINE = re.compile(rf'(\S+) {_NUMBER} {_NUMBER}##(.+)')


class _Entry(Struct):
    duration: Duration


@TASK_UTILS.register_module()
class CharadesSTAReader(AnnotationReader):
    """Reads lines ``VIDEO START END##SENTENCE`` and the durations of Charades' videos.

    A query's id is ``VIDEO#NUMBER``, counted from 0 within its video in the order of the file. The
    durations are those of ``video_index``: a ``.json`` file ``{video: {duration, …}}``, or a
    ``.csv`` file with the columns ``id`` and ``length``, as Charades' own. Either lists all videos
    of Charades; where ``ann_file`` is given, the videos are those that it names. A video's number
    is its place in the index, in every split.

    Args:
        end_tolerance: Passed to :class:`AnnotationReader`. The release has moments that end up to
            1.54 s after their video.
        **others: Passed to :class:`AnnotationReader`.
    """

    def __init__(self, *, end_tolerance: float = 2.0, **others: Any) -> None:
        super().__init__(end_tolerance=end_tolerance, **others)

    def _read_videos(self) -> Iterator[Video]:
        if self.video_index == self.ann_file:
            raise InputError(
                f'{self.ann_file}: tells no durations of videos; set video_index of the reader to '
                'charades.json or Charades_v1_train.csv'
            )
        used = {query.video_name for query in self._read_queries()} if self.ann_file else None
        read = _read_csv if self.video_index.endswith('.csv') else _read_json
        for number, (name, duration, where) in enumerate(read(self.video_index)):
            if used is None or name in used:
                yield Video(name, duration, number, where=where)

    def _read_queries(self) -> Iterator[Query]:
        counts: Counter[str] = Counter()
        for number, line in enumerate(read_text(self.ann_file).splitlines(), 1):
            if not line.strip():
                continue
            where = f'{self.ann_file}:{number}'
            fields = _LINE.fullmatch(line)
            if fields is None:
                raise InputError(
                    f'{where}: found {line[:80]!r}, expected VIDEO START END##SENTENCE with times '
                    'in seconds; mend or remove the line'
                )
            name, start, end, sentence = fields.groups()
            yield Query(
                f'{name}#{counts[name]}',
                sentence.strip(),
                where,
                video_name=name,
                moments=[Moment(float(start), float(end))],
            )
            counts[name] += 1


def _read_json(path: str) -> Iterator[tuple[str, float, str]]:
    for name, content in read_json(path, dict[str, Any]).items():
        where = f'{path}: video {name!r}'
        yield name, check(content, _Entry, where).duration, where


def _read_csv(path: str) -> Iterator[tuple[str, float, str]]:
    rows = csv.DictReader(read_text(path).splitlines())
    try:
        for row in rows:
            yield row['id'], float(row['length']), f'{path}:{rows.line_num}'
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'{path}:{rows.line_num}: {error!r}; expected a column id and a column length in '
            "seconds, as in Charades' own file. Mend the row, or fetch the file again"
        ) from error
