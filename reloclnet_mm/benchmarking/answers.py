"""From the lists of a row to answers to the reference's queries, in its order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reloclnet_mm.benchmarking.lists import NO_VIDEO, TASKS, Arrays
from reloclnet_mm.benchmarking.reference import Reference
from reloclnet_mm.errors import InputError

NO_PLACE = -1
"""Place of a video where a list is shorter than others."""

_PROPOSALS = (
    'Its proposals are made without reading the query: all queries of a video get the same list.'
)


@dataclass(frozen=True)
class Ranked:
    """Lists of Q queries.

    Attributes:
        videos: (Q, K) int64, places of videos, :data:`NO_PLACE` after the end of a list.
        moments: (Q, K, 2) float32, seconds; None for ranked videos.
        limit: How many answers were asked for; recalls beyond are unknown. None: no limit.
    """

    videos: NDArray
    moments: NDArray | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Answers:
    """What a row answers.

    Attributes:
        tasks: Lists by task; a task that the row cannot serve is absent.
        notes: What a reader has to know of the row.
    """

    tasks: Mapping[str, Ranked]
    notes: tuple[str, ...] = field(default=())


def limit_of(task: str, asked: int, reference: Reference) -> int | None:
    """Return the limit of lists for which so many answers were asked; None: all videos."""
    return None if task == 'VR' and asked >= len(reference.video_names) else asked


def answers_of(
    arrays: Arrays,
    limits: Mapping[str, int],
    own: Reference | None,
    reference: Reference,
    row: str,
) -> Answers:
    """Bring the lists of a model into the order of the reference.

    Args:
        arrays: Its lists.
        limits: Task to the number of answers that the model was asked for; of a task that is not
            in it, the longest list has as many.
        own: What its config tests on; None: a config of mmaction2.
        reference: What rows are compared on.
        row: Name of the row for messages.

    Raises:
        InputError: Its queries or videos cannot be told to be those of the reference.
    """
    if 'query_ids' in arrays and own is not None:
        return _of_queries(arrays, limits, own, reference, row)
    if 'truth' in arrays:
        return _of_grounding(arrays, reference, row)
    if 'video_names' in arrays:
        return _of_proposals(arrays, reference, row)
    raise InputError(
        f'{row}: its config has no test_corpus_dataloader over a data set of this package, so that '
        'its queries and videos cannot be told to be those of the others'
    )


def _of_queries(
    arrays: Arrays,
    limits: Mapping[str, int],
    own: Reference,
    reference: Reference,
    row: str,
) -> Answers:
    ids = arrays['query_ids'].tolist()
    order = places_of_queries(ids, reference, row)
    numbers = np.array([*own.video_ids, NO_VIDEO])
    places = np.array([*(reference.video_places[x] for x in own.video_names), NO_PLACE])
    by_number = np.argsort(numbers)
    tasks = {}
    for task in TASKS:
        if f'{task}.video_ids' not in arrays:
            continue
        found = arrays[f'{task}.video_ids'][order]
        at = by_number[np.searchsorted(numbers, found, sorter=by_number).clip(max=len(numbers) - 1)]
        if not (numbers[at] == found).all():
            raise InputError(
                f'{row}: ranks video {found[numbers[at] != found][0]}, not in its corpus'
            )
        moments = arrays.get(f'{task}.moments')
        tasks[task] = Ranked(
            places[at],
            None if moments is None else moments[order],
            limit_of(task, limits.get(task, found.shape[1]), reference),
        )
    return Answers(tasks)


def _of_grounding(arrays: Arrays, reference: Reference, row: str) -> Answers:
    """Match queries by video and right moment: such models do not keep the id of a query."""
    found = [
        (name, *moment)
        for name, moment in zip(
            arrays['video_names'].tolist(), arrays['truth'].tolist(), strict=True
        )
    ]
    expected = [
        (reference.video_names[query.video], *query.truth.moments[0].tolist())
        for query in reference.queries
    ]
    if len(found) != len(expected):
        raise InputError(
            f'{row}: answers {len(found)} queries, and the others {len(expected)}; test it on the '
            'same annotation'
        )
    tolerance = [0.1 + 0.01 * reference.durations[query.video] for query in reference.queries]
    for i, (a, b, most) in enumerate(zip(found, expected, tolerance, strict=True)):
        if a[0] != b[0] or abs(a[1] - b[1]) > most or abs(a[2] - b[2]) > most:
            raise InputError(
                f'{row}: its query {i + 1} is one on {a[0]!r} at {a[1]:.1f} to {a[2]:.1f} s, and '
                f'that of the others on {b[0]!r} at {b[1]:.1f} to {b[2]:.1f} s; expected the same '
                'queries in the same order, for its results do not name them. Test it on the same '
                'annotation file, in file order'
            )
    return Answers({'SVMR': _in_own_videos(arrays['SVMR.moments'], reference)})


def _of_proposals(arrays: Arrays, reference: Reference, row: str) -> Answers:
    rows = {name: i for i, name in enumerate(arrays['video_names'].tolist())}
    names = [reference.video_names[query.video] for query in reference.queries]
    missing = sorted(set(names) - rows.keys())
    if missing:
        raise InputError(
            f'{row}: has no proposals for {len(missing)} videos of the queries, such as '
            f'{missing[0]!r}; test it on the same videos, under the same names'
        )
    moments = arrays['SVMR.moments'][[rows[name] for name in names]]
    return Answers({'SVMR': _in_own_videos(moments, reference)}, (_PROPOSALS,))


def _in_own_videos(moments: NDArray, reference: Reference) -> Ranked:
    absent = np.isnan(moments).any(2)
    videos = np.where(absent, NO_PLACE, reference.clusters[:, None])
    return Ranked(videos, moments, limit_of('SVMR', moments.shape[1], reference))


def places_of_queries(ids: Sequence[str], reference: Reference, row: str) -> NDArray:
    """Return where in a list of answered queries each query of the reference is, (Q,) int64.

    Raises:
        InputError: A query is missing, unknown, or there twice.
    """
    at = {query_id: i for i, query_id in enumerate(ids)}
    expected = reference.query_places
    missing = [query_id for query_id in expected if query_id not in at]
    unknown = [query_id for query_id in at if query_id not in expected]
    if missing or unknown or len(at) != len(ids):
        twice = len(ids) - len(at)
        raise InputError(
            f'{row}: answers {len(ids)} queries, {len(at) - len(unknown)} of the {len(expected)} '
            f'of {reference.ann_file}'
            + (f'; query {missing[0]!r} has no answer' if missing else '')
            + (f'; query {unknown[0]!r} is not among them' if unknown else '')
            + (f'; {twice} are answered twice' if twice else '')
            + '; give predictions of the same split, one list a query'
        )
    return np.array([at[query_id] for query_id in expected])
