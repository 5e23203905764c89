"""Reader of the layout of ActivityNet Captions (Krishna et al., ICCV 2017)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from reloclnet_mm.datasets.readers.base import AnnotationReader, Duration, Moment, Query, Video
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import TASK_UTILS
from reloclnet_mm.utils.json_files import check, read_json


class _Entry(Struct):
    duration: Duration
    timestamps: list[tuple[float, float]]
    sentences: list[str]


@TASK_UTILS.register_module()
class ActivityNetCaptionsReader(AnnotationReader):
    """Reads files ``{video: {duration, timestamps, sentences}}``.

    A query's id is ``FILE#VIDEO#NUMBER``, such as ``val_1#v_uqiMw7tQ1Cc#0``: the name of the
    file without its ending, for ``val_1`` and ``val_2`` describe the same videos, and the place of
    the sentence within its video, from 0. The release has moments whose times are swapped; they
    are swapped back and counted.
    """

    swaps_times = True

    def _read_videos(self) -> Iterator[Video]:
        for name, where, entry in _entries(self.video_index):
            yield Video(name, entry.duration, where=where)

    def _read_queries(self) -> Iterator[Query]:
        file = Path(self.ann_file).stem
        for name, where, entry in _entries(self.ann_file):
            pairs = zip(entry.timestamps, entry.sentences, strict=True)
            for number, (times, sentence) in enumerate(pairs):
                yield Query(
                    f'{file}#{name}#{number}',
                    sentence.strip(),
                    f'{where}, sentence {number}',
                    video_name=name,
                    moments=[Moment(*times)],
                )


def _entries(path: str) -> Iterator[tuple[str, str, _Entry]]:
    for name, content in read_json(path, dict[str, Any]).items():
        where = f'{path}: video {name!r}'
        entry = check(content, _Entry, where)
        if not 0 < len(entry.timestamps) == len(entry.sentences):
            raise InputError(
                f'{where}: found {len(entry.timestamps)} timestamps and {len(entry.sentences)} '
                'sentences, expected one each and at least one; mend or remove the entry'
            )
        yield name, where, entry
