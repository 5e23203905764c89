"""What feature extraction reads of TVR-layout files: query texts and the corpus's durations."""

import os
from collections.abc import Iterable

from reloclnet_mm.datasets.annotation import read_json, read_jsonl, read_video_index
from reloclnet_mm.errors import InputError


def read_query_texts(paths: Iterable[str | os.PathLike]) -> dict[str, str]:
    """The queries of annotation files.

    Returns:
        Stripped texts by query id, which is ``str(desc_id)``, the key of query features.
    """
    texts: dict[str, str] = {}
    for path in paths:
        for line, entry in read_jsonl(path):
            place = f'{path}:{line}'
            query_id, text = entry.get('desc_id'), entry.get('desc')
            if not isinstance(query_id, int | str) or not isinstance(text, str):
                raise InputError(
                    f'{place}: found the keys {sorted(entry)}, expected "desc_id" (number) and '
                    '"desc" (text); mend the line'
                )
            if not text.strip():
                raise InputError(f'{place}: query {query_id} is empty; give it words or remove it')
            if str(query_id) in texts:
                raise InputError(f'{place}: desc_id {query_id} occurs twice; ids must be unique')
            texts[str(query_id)] = text.strip()
    if not texts:
        raise InputError(f'{", ".join(map(str, paths))}: no queries; expected one a line')
    return texts


def read_video_durations(path: str | os.PathLike) -> dict[str, float]:
    """The duration in seconds of every video of every split of a ``video2dur_idx.json``."""
    splits = read_json(path)
    if not isinstance(splits, dict) or not all(isinstance(s, dict) for s in splits.values()):
        raise InputError(
            f'{path}: not a video index; expected {{split: {{video name: [duration, index]}}}}'
        )
    durations: dict[str, float] = {}
    for split in splits:
        for name, video in read_video_index(path, split).items():
            if durations.setdefault(name, video.duration) != video.duration:
                raise InputError(
                    f'{path}: video {name} lasts {video.duration} s in {split}, '
                    f'{durations[name]} s in another split; mend one of them'
                )
    if not durations:
        raise InputError(f'{path}: no videos; expected {{split: {{name: [duration, index]}}}}')
    return durations
