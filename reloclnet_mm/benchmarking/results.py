"""All numbers of a benchmark in one dict, which the report draws and JSON holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from reloclnet_mm.benchmarking.answers import Answers
from reloclnet_mm.benchmarking.differences import Shown, most_different
from reloclnet_mm.benchmarking.entries import Entry, Row
from reloclnet_mm.benchmarking.lists import TASKS
from reloclnet_mm.benchmarking.reference import Reference
from reloclnet_mm.benchmarking.rows import Record
from reloclnet_mm.benchmarking.scores import (
    CONFIDENCE,
    FLIPS,
    RESAMPLES,
    Scores,
    breakdowns,
    main_measures,
    measures_of,
    recall_by_corpus_size,
    recall_by_k,
    recalls,
    score,
    significance,
)
from reloclnet_mm.evaluation.table import recall_name

SIGNIFICANT = 0.05
"""Corrected p-values below this are significant."""

BUSY = 0.8
"""Share of a core that a process gets at least where the machine does nothing else."""

_NO_SVMR = 'SVMR is left out of all rows: the annotation does not name the own video of each query.'
_SEVERAL_RIGHT = (
    'Recall by size of the corpus is left out: a query has several right videos, and the rank of '
    'the first does not tell how many of them a smaller corpus has.'
)


def summarize(
    rows: Sequence[Row],
    read_answers: Callable[[Entry], Answers],
    records: Mapping[Entry, Record],
    reference: Reference,
    *,
    differ: tuple[str, str] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Compute everything that the report shows.

    Args:
        rows: The rows, in their order.
        read_answers: Returns the answers of an entry. They are large: no two are kept, but for the
            two whose most different queries are shown.
        records: Record of each entry that was evaluated here.
        reference: What rows are compared on.
        differ: Names of the rows whose most different queries are shown; None: the two best.
        notes: What a reader has to know of the data beside what is found here.

    Returns:
        Plain values that JSON can hold.
    """
    scores: dict[str, list[Scores]] = {}
    own_notes: dict[str, tuple[str, ...]] = {}
    for row in rows:
        for entry in row.entries:
            answers = read_answers(entry)
            scores.setdefault(row.name, []).append(score(answers, reference))
            own_notes[row.name] = answers.notes
    measures = measures_of(reference.protocol)
    found = {
        row.name: _row(
            row,
            scores[row.name],
            [records[entry] for entry in row.entries if entry in records],
            own_notes[row.name],
            reference,
            recalls(scores[row.name], measures, reference.clusters),
        )
        for row in rows
    }
    pairs = significance(scores, measures, reference.clusters)
    pair = differ or _two_best(found, reference)
    first = {row.name: row.entries[0] for row in rows}
    return dict(
        data=_data(reference) | dict(notes=[*_data_notes(reference), *notes]),
        protocol=asdict(reference.protocol)
        | dict(
            confidence=CONFIDENCE,
            resamples=RESAMPLES,
            flips=FLIPS,
            significant=SIGNIFICANT,
            busy=BUSY,
        ),
        measures=[dict(m._asdict(), name=m.name, label=m.label) for m in measures],
        rows=list(found.values()),
        best={measure.name: _best(measure.name, found, pairs) for measure in measures},
        significance=pairs,
        recall_by_k=recall_by_k(scores, reference.protocol),
        breakdowns=breakdowns(scores, reference),
        corpus_size=recall_by_corpus_size(scores, reference),
        differences=pair
        and most_different(
            *(Shown(name, read_answers(first[name]), scores[name][0]) for name in pair), reference
        ),
    )


def _data_notes(reference: Reference) -> list[str]:
    found = [] if reference.has_svmr else [_NO_SVMR]
    return found if reference.has_one_right_video else [*found, _SEVERAL_RIGHT]


def _data(reference: Reference) -> dict[str, Any]:
    moments = [query.truth.moments for query in reference.queries]
    return dict(
        config=reference.source,
        ann_file=reference.ann_file,
        queries=len(reference.queries),
        videos=len(reference.video_names),
        hours=reference.hours,
        videos_with_queries=len(set(reference.clusters.tolist())),
        median_duration=float(np.median(reference.durations)),
        median_moment=float(np.median(np.diff(np.concatenate(moments)))),
    )


def _row(
    row: Row,
    scores: Sequence[Scores],
    records: Sequence[Record],
    notes: Sequence[str],
    reference: Reference,
    recalls_of_row: Mapping[str, Any],
) -> dict[str, Any]:
    return dict(
        name=row.name,
        entries=[str(entry) for entry in row.entries],
        recalls=recalls_of_row,
        costs=_mean([record.costs for record in records]),
        other=_mean([_others(record.metrics, reference) for record in records]),
        notes=[*_notes(row, records, scores, reference), *notes],
    )


def _mean(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of what all records have."""
    if not records:
        return {}
    names = [name for name in records[0] if all(name in record for record in records)]
    return {name: float(np.mean([record[name] for record in records])) for name in names}


def _others(metrics: Mapping[str, float | None], reference: Reference) -> dict[str, float]:
    """What a config's own evaluator reports beside the recalls that the report computes anew."""
    types = {query.query_type for query in reference.queries}
    computed = {
        f'{measure.task}/{below}{recall_name(measure.top_k, measure.iou)}'
        for measure in measures_of(reference.protocol)
        for below in ('', *(f'{query_type}/' for query_type in types))
    }
    return {
        name: value for name, value in metrics.items() if value is not None and name not in computed
    }


def _notes(
    row: Row, records: Sequence[Record], scores: Sequence[Scores], reference: Reference
) -> list[str]:
    notes = []
    first = row.entries[0]
    parameters = records[0].costs.get('parameters') if records else 0
    if first.is_config and first.checkpoint is None and parameters:
        notes.append('No checkpoint was given: its weights are those that training begins with.')
    shares = [x.costs['cpu_share'] for x in records if 'cpu_share' in x.costs]
    if min(shares, default=1) < BUSY:
        notes.append(
            'The machine was busy with other work while queries were timed: the process got less '
            f'than {100 * BUSY:.0f}% of a core. Its times are too long.'
        )
    if len(row.entries) > 1:
        notes.append(f'Mean ± standard deviation of {len(row.entries)} trainings.')
    absent = [
        task
        for task in TASKS
        if task not in scores[0].limits and (task != 'SVMR' or reference.has_svmr)
    ]
    if absent:
        notes.append(f'It does not answer {" and ".join(absent)}.')
    most = max(reference.protocol.top_k)
    limits = {task: x for task, x in scores[0].limits.items() if x is not None and x < most}
    if limits:
        listed = ', '.join(f'{task} {limit}' for task, limit in limits.items())
        notes.append(f'Its lists end after so many answers: {listed}. Recalls beyond are unknown.')
    return notes


def _best(
    name: str, rows: Mapping[str, dict[str, Any]], pairs: Sequence[Mapping[str, Any]]
) -> str | None:
    """Return the row that is significantly better than the next; None if none is."""
    order = _best_first(name, rows)
    if len(order) < 2:
        return None
    _, p = difference_between(name, order[0], order[1], pairs)
    return order[0] if p < SIGNIFICANT else None


def difference_between(
    name: str, a: str, b: str, pairs: Sequence[Mapping[str, Any]]
) -> tuple[float, float]:
    """Return a − b of a measure in points, and its corrected p-value."""
    (found,) = [x for x in pairs if x['measure'] == name and {x['a'], x['b']} == {a, b}]
    difference = found['difference']
    # Subtracted, for 0 with its sign changed would be shown as -0.00.
    return difference if found['a'] == a else 0 - difference, found['p_holm']


def _two_best(rows: Mapping[str, dict[str, Any]], reference: Reference) -> tuple[str, str] | None:
    """Choose the two best rows by the main recall of VCMR, or else of SVMR or VR."""
    for measure in reversed(main_measures(reference.protocol)):
        order = _best_first(measure.name, rows)
        if len(order) > 1:
            return order[0], order[1]
    return None


def _best_first(name: str, rows: Mapping[str, dict[str, Any]]) -> list[str]:
    """Order the rows that serve a measure."""
    served = [row for row in rows if name in rows[row]['recalls']]
    return sorted(served, key=lambda row: -rows[row]['recalls'][name]['value'])
