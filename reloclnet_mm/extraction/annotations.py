"""What feature extraction reads of annotation files: texts of queries and durations of videos."""

import os
from collections.abc import Iterable

from reloclnet_mm.datasets.readers import AnnotationReader
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import TASK_UTILS


def read_query_texts(
    paths: Iterable[str | os.PathLike], reader: str = 'TVRReader'
) -> dict[str, str]:
    """Return the stripped text of each query by ``str(query_id)``, the key of its features.

    Args:
        paths: Annotation files.
        reader: Type of the reader of their layout.

    Raises:
        InputError: A file cannot be used, or an id is in two of them.
    """
    texts: dict[str, str] = {}
    for path in paths:
        found = _reader(reader, ann_file=path).texts()
        for query_id in texts.keys() & found.keys():
            raise InputError(
                f'{path}: query id {query_id} is in an earlier file too; ids must be unique, for '
                'features are found by them. Renumber one of the files'
            )
        texts |= found
    return texts


def read_video_durations(path: str | os.PathLike, reader: str = 'TVRReader') -> dict[str, float]:
    """Return the duration in seconds of every video of a file, by name.

    Args:
        path: File that lists the videos; of TVR's layout, those of every split are read.
        reader: Type of the reader of its layout.

    Raises:
        InputError: The file cannot be used.
    """
    videos = _reader(reader, video_index=path).videos()
    return {name: video.duration for name, video in videos.items()}


def _reader(kind: str, **files: str | os.PathLike) -> AnnotationReader:
    # A prefix makes the type known wherever the default scope is another package's.
    kind = kind if '.' in kind else f'reloclnet_mm.{kind}'
    return TASK_UTILS.build(dict(type=kind, **{name: str(path) for name, path in files.items()}))
