"""Reading annotation files, with errors that name the file and the line."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reloclnet_mm.errors import InputError


@dataclass(frozen=True)
class VideoInfo:
    """A video of a corpus.

    Attributes:
        video_id: The number by which predictions name it.
        duration: Seconds.
    """

    video_id: int
    duration: float


def open_annotation(path: str | Path) -> Path:
    """The path, if a file is there.

    Raises:
        InputError: There is none.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f'{path}: no such file; expected an annotation there. Put it in place, or set '
            'data_root and ann_file of the data set in the config to where it is'
        )
    return path


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: The file is missing or no JSON.
    """
    path = open_annotation(path)
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise InputError(f'{path}: not a JSON file ({e}); fetch or write it again') from e


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a jsonl file with their line numbers, from 1; blank lines are skipped.

    Raises:
        InputError: The file is missing, or a line is no JSON object.
    """
    path = open_annotation(path)
    with path.open('rb') as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as e:
                raise InputError(
                    f'{path}:{number}: not a line of JSON ({e}); expected one object a line. '
                    'Mend or remove the line'
                ) from e
            if not isinstance(record, dict):
                raise InputError(
                    f'{path}:{number}: found a JSON {type(record).__name__}, expected an object. '
                    'Mend or remove the line'
                )
            yield number, record


def read_video_index(path: str | Path, split: str) -> dict[str, VideoInfo]:
    """The videos of a split in the layout of TVR's ``tvr_video2dur_idx.json``.

    Args:
        path: A JSON file {split: {video name: [duration in seconds, index]}}.
        split: Which split.

    Raises:
        InputError: The file, the split or an entry cannot be used.
    """
    index = read_json(path)
    if not isinstance(index, dict) or split not in index:
        found = sorted(index) if isinstance(index, dict) else type(index).__name__
        raise InputError(
            f"{path}: found {found}, expected a split {split!r}; set the data set's split to one "
            'that the file has'
        )
    videos = {
        name: _video_info(entry, f'{path}: video {name!r}') for name, entry in index[split].items()
    }
    _check_unique_ids(videos, path)
    return videos


def _check_unique_ids(videos: dict[str, VideoInfo], path: str | Path) -> None:
    first: dict[int, str] = {}
    for name, video in videos.items():
        other = first.setdefault(video.video_id, name)
        if other != name:
            raise InputError(
                f'{path}: videos {other!r} and {name!r} have the index {video.video_id} both; '
                'expected one of its own for each, for predictions name a video by it. Mend one'
            )


def _video_info(entry: Any, where: str) -> VideoInfo:
    try:
        duration, video_id = float(entry[0]), int(entry[1])
    except (TypeError, ValueError, IndexError, KeyError) as e:
        raise InputError(
            f'{where}: found {entry!r}, expected [duration in seconds, index]; mend the entry'
        ) from e
    return VideoInfo(video_id, check_duration(duration, where))


def check_duration(duration: float, where: str) -> float:
    """The duration, if it is a positive number of seconds.

    Args:
        duration: Seconds.
        where: File and key or line, for the message.

    Raises:
        InputError: It is not.
    """
    is_number = isinstance(duration, (int, float)) and math.isfinite(duration)
    if not (is_number and duration > 0):
        raise InputError(
            f'{where}: found a duration of {duration!r} s, expected a positive number; '
            'mend or remove the entry'
        )
    return duration


def check_moment(
    moment: Any, duration: float, where: str, tolerance: float
) -> tuple[tuple[float, float], bool]:
    """A moment within its video.

    Args:
        moment: [start, end] in seconds.
        duration: Of the video, seconds.
        where: File and line, for messages.
        tolerance: Seconds that a moment may reach past its video's end; it is cut there.

    Returns:
        The moment, and whether it was cut.

    Raises:
        InputError: It is no pair of numbers, ends before it starts, or lies outside its video.
    """
    try:
        start, end = (float(x) for x in moment)
    except (TypeError, ValueError) as e:
        raise InputError(
            f'{where}: found the moment {moment!r}, expected [start, end] in seconds; '
            'mend or remove the line'
        ) from e
    if not end >= start:
        raise InputError(
            f'{where}: the moment [{start}, {end}] ends before it starts; mend or remove the line'
        )
    if start < 0 or start >= duration or end > duration + tolerance:
        raise InputError(
            f'{where}: the moment [{start}, {end}] lies outside its video of {duration} s '
            f'(an end up to {tolerance} s past it is cut); mend or remove the line'
        )
    return (start, min(end, duration)), end > duration
