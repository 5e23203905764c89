"""From answers to numbers: recalls with intervals, significance, breakdowns."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reloclnet_mm.benchmarking.answers import Answers, Ranked
from reloclnet_mm.benchmarking.reference import Protocol, Reference
from reloclnet_mm.evaluation.comparison import (
    NEVER,
    bootstrap_intervals,
    clustered_errors,
    equal_groups,
    first_hits,
    group_of,
    holm,
    sign_flip_p_values,
    subset_recalls,
)
from reloclnet_mm.evaluation.functional import video_hits
from reloclnet_mm.evaluation.table import recall_name

RESAMPLES, FLIPS, CONFIDENCE = 2000, 9999, 0.95
_GROUPS = 4


class Measure(NamedTuple):
    """One recall.

    Attributes:
        task: ``VR``, ``SVMR`` or ``VCMR``.
        iou: IoU that a right moment reaches; None for VR.
        top_k: The K.
    """

    task: str
    iou: float | None
    top_k: int

    @property
    def name(self) -> str:
        """Name as in the results of a test, such as ``VCMR/R1@0.5``."""
        return f'{self.task}/{recall_name(self.top_k, self.iou)}'

    @property
    def label(self) -> str:
        """Name to show, such as ``VCMR R@1 IoU 0.5``."""
        iou = '' if self.iou is None else f' IoU {self.iou}'
        return f'{self.task} R@{self.top_k}{iou}'


@dataclass(frozen=True)
class Scores:
    """How well one entry answers Q queries.

    Attributes:
        ranks: (task, IoU) to the (Q,) ranks of the first right answers.
        limits: Task to the most answers that its lists may have; None: no limit.
        listed: Length of the lists of VR.
    """

    ranks: Mapping[tuple[str, float | None], NDArray]
    limits: Mapping[str, int | None]
    listed: int = 0

    def hits(self, measure: Measure) -> NDArray | None:
        """Tell which queries are answered (Q,); None where the row does not serve the measure."""
        ranks = self.ranks.get((measure.task, measure.iou))
        limit = self.limits.get(measure.task)
        if ranks is None or (limit is not None and measure.top_k > limit):
            return None
        return ranks <= measure.top_k


def measures_of(protocol: Protocol) -> list[Measure]:
    """List the recalls of a protocol."""
    ious = {'VR': (None,), 'SVMR': protocol.ious, 'VCMR': protocol.ious}
    return [Measure(task, x, k) for task in ious for x in ious[task] for k in protocol.top_k]


def score(answers: Answers, reference: Reference) -> Scores:
    """Find the rank of the first right answer to each query.

    SVMR is left out where a query does not name its own video.
    """
    tasks = {task: x for task, x in answers.tasks.items() if reference.has_svmr or task != 'SVMR'}
    ranks: dict[tuple[str, float | None], NDArray] = {}
    for task, ranked in tasks.items():
        if task == 'VR':
            ranks['VR', None] = _video_ranks(ranked, reference)
            continue
        found = _moment_ranks(task, ranked, reference)
        ranks |= {(task, iou): x for iou, x in zip(reference.protocol.ious, found, strict=True)}
    listed = tasks['VR'].videos.shape[1] if 'VR' in tasks else 0
    return Scores(ranks, {task: x.limit for task, x in tasks.items()}, listed)


def _video_ranks(ranked: Ranked, reference: Reference) -> NDArray:
    rows = zip(ranked.videos, reference.queries, strict=True)
    return np.array([first_hits(video_hits(x, query.truth.video_ids))[0] for x, query in rows])


def _moment_ranks(task: str, ranked: Ranked, reference: Reference) -> NDArray:
    """(T, Q)."""
    ious, annotators = reference.protocol.ious, reference.protocol.min_annotators
    ranks = []
    for videos, moments, query in zip(
        ranked.videos, ranked.moments, reference.queries, strict=True
    ):
        truth = query.truth
        if task == 'SVMR':
            truth = truth.chosen(truth.video_ids == query.own_video)
        ranks.append(first_hits(truth.hits(videos, moments, ious, annotators)))
    return np.stack(ranks, 1)


def recalls(
    seeds: Sequence[Scores], measures: Sequence[Measure], clusters: NDArray
) -> dict[str, dict[str, Any]]:
    """Compute the recalls of a row in percent.

    Args:
        seeds: Scores of its entries.
        measures: What to compute; what the row does not serve is left out.
        clusters: (Q,) the video of each query.

    Returns:
        By name ``value`` (the mean over seeds), ``low`` and ``high`` of its interval, None where
        all queries are of one video, ``seeds`` and, of several, their standard deviation ``sd``.
    """
    served = [m for m in measures if all(x.hits(m) is not None for x in seeds)]
    if not served:
        return {}
    means = np.stack([mean_hits(seeds, measure) for measure in served])
    ends = 100 * bootstrap_intervals(means, clusters, resamples=RESAMPLES, confidence=CONFIDENCE)
    found = {}
    for measure, (low, high) in zip(served, ends.tolist(), strict=True):
        each = [100 * float(x.hits(measure).mean()) for x in seeds]
        found[measure.name] = dict(
            value=float(np.mean(each)), low=_known(low), high=_known(high), seeds=each
        )
        if len(each) > 1:
            found[measure.name]['sd'] = float(np.std(each, ddof=1))
    return found


def _known(value: float) -> float | None:
    """None for NaN, which JSON cannot hold."""
    return None if math.isnan(value) else value


def mean_hits(seeds: Sequence[Scores], measure: Measure) -> NDArray | None:
    """Compute the share of seeds that answer each query, (Q,); None where one does not serve it."""
    hits = [x.hits(measure) for x in seeds]
    return None if any(x is None for x in hits) else np.mean(hits, axis=0)


def significance(
    rows: Mapping[str, Sequence[Scores]], measures: Sequence[Measure], clusters: NDArray
) -> list[dict[str, Any]]:
    """Compare each two rows by each measure that both serve.

    Args:
        rows: Scores of the entries of each row.
        measures: What to compare.
        clusters: (Q,) the video of each query.

    Returns:
        ``measure``, ``a``, ``b``, ``difference`` (a − b in percent), ``p`` of the sign-flip test on
        the hits averaged over seeds, and ``p_holm``, corrected for all pairs of the measure.
    """
    found = []
    for measure in measures:
        hits = {name: mean_hits(seeds, measure) for name, seeds in rows.items()}
        pairs = list(combinations([name for name, x in hits.items() if x is not None], 2))
        if not pairs:
            continue
        differences = np.stack([hits[a] - hits[b] for a, b in pairs])
        p = sign_flip_p_values(differences, clusters, flips=FLIPS)
        found += [
            dict(measure=measure.name, a=a, b=b, difference=100 * d, p=raw, p_holm=corrected)
            for (a, b), d, raw, corrected in zip(
                pairs, differences.mean(1).tolist(), p.tolist(), holm(p).tolist(), strict=True
            )
        ]
    return found


def main_measures(protocol: Protocol) -> list[Measure]:
    """Choose the recalls that are drawn: of VR, SVMR and VCMR at the lowest K and IoU."""
    k, iou = protocol.top_k[0], protocol.ious[0]
    return [Measure('VR', None, k), Measure('SVMR', iou, k), Measure('VCMR', iou, k)]


def recall_by_k(
    rows: Mapping[str, Sequence[Scores]], protocol: Protocol
) -> dict[str, dict[str, list[float | None]]]:
    """Compute recalls at 1, 2, … up to the largest K: task and IoU, to row, to percent."""
    ks = range(1, max(protocol.top_k) + 1)
    found: dict[str, dict[str, list[float | None]]] = {}
    for task, iou, _ in main_measures(protocol):
        label = task if iou is None else f'{task} IoU {iou}'
        for name, seeds in rows.items():
            hits = [mean_hits(seeds, Measure(task, iou, k)) for k in ks]
            if hits[0] is not None:
                curve = [None if x is None else 100 * float(x.mean()) for x in hits]
                found.setdefault(label, {})[name] = curve
    return found


def breakdowns(rows: Mapping[str, Sequence[Scores]], reference: Reference) -> list[dict[str, Any]]:
    """Compute recalls by kind of query.

    Returns:
        ``name``, ``groups`` (a label and the number of queries of each) and ``recalls``: measure to
        row to a list of percent and clustered standard error, for each group; an error is None
        where all queries of the group are of one video.
    """
    found = []
    for name, labels, group in groupings(reference):
        counts = np.bincount(group, minlength=len(labels))
        table: dict[str, dict[str, list]] = {}
        for measure in main_measures(reference.protocol):
            for row, seeds in rows.items():
                hits = mean_hits(seeds, measure)
                if hits is not None:
                    table.setdefault(measure.label, {})[row] = [
                        _mean_and_error(hits[group == i], reference.clusters[group == i])
                        for i in range(len(labels))
                    ]
        groups = [dict(label=x, queries=int(n)) for x, n in zip(labels, counts, strict=True)]
        found.append(dict(name=name, groups=groups, recalls=table))
    return found


def _mean_and_error(hits: NDArray, clusters: NDArray) -> tuple[float, float | None] | None:
    if not len(hits):
        return None
    error = 100 * float(clustered_errors(hits[None], clusters)[0])
    return 100 * float(hits.mean()), _known(error)


def groupings(reference: Reference) -> list[tuple[str, list[str], NDArray]]:
    """Divide the queries: a name, the labels of the groups, and (Q,) the group of each query.

    Length and position are those of the mean right moment in the query's video.
    """
    queries = reference.queries
    found = []
    types = sorted({query.query_type for query in queries if query.query_type is not None})
    if len(types) > 1 and all(query.query_type is not None for query in queries):
        found.append(('query type', types, np.array([types.index(x.query_type) for x in queries])))
    mean = np.stack([_mean_moment(query.truth, query.video) for query in queries])
    lengths = mean[:, 1] - mean[:, 0]
    edges = equal_groups(lengths, _GROUPS)
    ends = edges if len(edges) > 1 else np.repeat(edges, 2)
    labels = [f'{a:.3g} to {b:.3g}' for a, b in pairwise(ends.tolist())]
    found.append(('moment length in seconds', labels, group_of(lengths, edges)))
    durations = np.array([reference.durations[query.video] for query in queries])
    centers = mean.mean(1) / durations
    fifths = np.linspace(0, 1, 6)
    labels = [f'{a:.1f} to {b:.1f}' for a, b in pairwise(fifths.tolist())]
    found.append(('center of the moment in its video', labels, group_of(centers, fifths)))
    return found


def _mean_moment(truth: Any, video: int) -> NDArray:
    return truth.moments[truth.video_ids == video].mean(0)


def recall_by_corpus_size(
    rows: Mapping[str, Sequence[Scores]], reference: Reference
) -> dict[str, Any]:
    """Compute the expected recall of VR where the corpus is a random part of the whole.

    Returns:
        ``sizes``, ``top_k`` and ``recalls``: row to a list of lower and upper bound in percent; no
        row where a query has several right videos, for the rank of the first does not tell how
        many of them a part has.
    """
    total, k = len(reference.video_names), reference.protocol.top_k[0]
    sizes = np.unique(np.geomspace(min(10, total), total, 12).round().astype(int)).tolist()
    found = {}
    for name, seeds in rows.items() if reference.has_one_right_video else ():
        if all(('VR', None) in x.ranks for x in seeds):
            bounds = [subset_recalls(x.ranks['VR', None], x.listed, total, sizes, k) for x in seeds]
            found[name] = (100 * np.mean(bounds, axis=0)).tolist()
    return dict(sizes=sizes, top_k=k, recalls=found)


def reciprocal_rank(ranks: NDArray) -> NDArray[np.float64]:
    """Return 1 over each rank, 0 for :data:`~reloclnet_mm.evaluation.comparison.NEVER`."""
    return np.where(ranks == NEVER, 0, 1 / ranks)
