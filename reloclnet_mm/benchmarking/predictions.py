"""Prediction files of other programs, in the format of TVR's submissions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from reloclnet_mm.benchmarking.answers import (
    NO_PLACE,
    Answers,
    Ranked,
    limit_of,
    places_of_queries,
)
from reloclnet_mm.benchmarking.lists import TASKS, pad
from reloclnet_mm.benchmarking.reference import Reference
from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.json_files import read_json

_Prediction = Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]


class _Answer(msgspec.Struct):
    desc_id: int | str
    predictions: list[_Prediction]


class _Submission(msgspec.Struct):
    video2idx: dict[str, int]
    VR: list[_Answer] = []
    SVMR: list[_Answer] = []
    VCMR: list[_Answer] = []


def read_predictions(path: Path, reference: Reference) -> Answers:
    """Read predictions in the format of TVR's submissions.

    Args:
        path: JSON with ``video2idx`` (video name to number) and, for each task that was answered,
            a list of ``{desc_id, desc, predictions}`` with predictions
            ``[number, start s, end s, score]``, best first.
        reference: What rows are compared on.

    Raises:
        InputError: The file is not of that format, or of other queries or videos.
    """
    submission = read_json(path, _Submission)
    if len(set(submission.video2idx.values())) < len(submission.video2idx):
        raise InputError(f'{path}: video2idx gives two videos one number; number each by itself')
    known = reference.video_places
    by_number = {n: known[name] for name, n in submission.video2idx.items() if name in known}
    tasks = {}
    for task in TASKS:
        answers = getattr(submission, task)
        if not answers:
            continue
        order = places_of_queries([str(x.desc_id) for x in answers], reference, f'{path}: {task}')
        lists = [np.array(answers[i].predictions, np.float64).reshape(-1, 4)[:, :3] for i in order]
        videos = pad([_places(x[:, 0], path, task, by_number) for x in lists], NO_PLACE, np.int64)
        if task == 'SVMR':
            _check_own(videos, reference, path)
        moments = None if task == 'VR' else pad([x[:, 1:] for x in lists], np.nan, np.float32)
        tasks[task] = Ranked(videos, moments, limit_of(task, videos.shape[1], reference))
    if not tasks:
        raise InputError(f'{path}: has no answers under VR, SVMR or VCMR; expected one of them')
    return Answers(tasks, ('Predictions of another program: no costs.',))


def _places(numbers: NDArray, path: Path, task: str, places: Mapping[int, int]) -> NDArray:
    """Return the places of numbered videos."""
    for number in numbers.tolist():
        if number not in places:
            raise InputError(
                f'{path}: {task} ranks video {number:g}, which video2idx does not name as a video '
                'of the corpus; rank the videos of the same split, and name them in video2idx'
            )
    return np.array([places[number] for number in numbers.tolist()], np.int64)


def _check_own(videos: NDArray, reference: Reference, path: Path) -> None:
    own = np.array([NO_PLACE if x.own_video is None else x.own_video for x in reference.queries])
    wrong = (videos != own[:, None]) & (videos != NO_PLACE) & (own[:, None] != NO_PLACE)
    if wrong.any():
        query, rank = np.argwhere(wrong)[0]
        names = reference.video_names
        raise InputError(
            f'{path}: SVMR of query {reference.queries[query].query_id!r} answers with video '
            f'{names[videos[query, rank]]!r}; expected moments of its own video '
            f'{names[own[query]]!r} alone'
        )
