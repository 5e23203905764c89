"""The queries on which two rows differ most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reloclnet_mm.benchmarking.answers import Answers
from reloclnet_mm.benchmarking.reference import Asked, Reference
from reloclnet_mm.benchmarking.scores import Scores, reciprocal_rank
from reloclnet_mm.evaluation.comparison import NEVER

_SHOWN = 3


@dataclass(frozen=True)
class Shown:
    """An entry whose answers are shown.

    Attributes:
        name: Name of its row.
        answers: Its lists.
        scores: Ranks of its right answers.
    """

    name: str
    answers: Answers
    scores: Scores


def most_different(
    first: Shown, second: Shown, reference: Reference, count: int = 10
) -> dict[str, Any]:
    """Choose the queries on which two entries differ most, and describe both answers.

    The difference is that of 1 / rank of the first right answer, summed over the tasks and IoU that
    both serve.

    Args:
        first: One entry.
        second: The other.
        reference: Queries and videos.
        count: How many queries.

    Returns:
        ``names``; ``better``, how many queries each answers better; and ``queries``.
    """
    keys = [key for key in first.scores.ranks if key in second.scores.ranks]
    gain = np.zeros(len(reference.queries))
    for key in keys:
        gain += reciprocal_rank(first.scores.ranks[key])
        gain -= reciprocal_rank(second.scores.ranks[key])
    chosen = np.argsort(-np.abs(gain), kind='stable')[:count]
    return dict(
        names=[first.name, second.name],
        better=[int((gain > 0).sum()), int((gain < 0).sum())],
        queries=[
            _described(i, reference, [first, second]) for i in chosen.tolist() if gain[i] != 0
        ],
    )


def _described(i: int, reference: Reference, entries: Sequence[Shown]) -> dict[str, Any]:
    query = reference.queries[i]
    right = query.truth.moments[query.truth.video_ids == query.video]
    return dict(
        query_id=query.query_id,
        query=query.text,
        video=reference.video_names[query.video],
        duration=reference.durations[query.video],
        truth=right.tolist(),
        answers=[_answer(i, query, reference, entry) for entry in entries],
    )


def _answer(i: int, query: Asked, reference: Reference, entry: Shown) -> dict[str, Any]:
    tasks, names = entry.answers.tasks, reference.video_names
    found: dict[str, Any] = dict(
        ranks={
            task if iou is None else f'{task} IoU {iou}': _rank(ranks[i])
            for (task, iou), ranks in entry.scores.ranks.items()
        }
    )
    if 'SVMR' in tasks:
        own = tasks['SVMR']
        listed = own.moments[i][own.videos[i] >= 0]
        found['in_video'] = listed[:_SHOWN].tolist()
    task = 'VCMR' if 'VCMR' in tasks else 'VR'
    if task in tasks:
        ranked = tasks[task]
        right = set(query.truth.video_ids.tolist())
        found['in_corpus'] = [
            dict(
                video=names[video],
                moment=None if ranked.moments is None else ranked.moments[i, rank].tolist(),
                right_video=video in right,
            )
            for rank, video in enumerate(ranked.videos[i, :_SHOWN].tolist())
            if video >= 0
        ]
    return found


def _rank(rank: int) -> int | None:
    return None if rank == NEVER else int(rank)
