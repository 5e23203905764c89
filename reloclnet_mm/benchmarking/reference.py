"""The queries, the right answers and the videos that all rows are compared on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope

from reloclnet_mm.datasets.base import CorpusDataset, QueryDataset
from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.metrics import MomentRecall, VideoRecall
from reloclnet_mm.evaluation.metrics.truth import Truth, ground_truth
from reloclnet_mm.registry import DATASETS, METRICS

_TOLERANCE = 1e-3
"""Seconds by which the same time may differ, for it may have been rounded."""


@dataclass(frozen=True)
class Protocol:
    """What counts as right, and at how many answers.

    Attributes:
        top_k: The K of recalls.
        ious: IoU that a right moment reaches.
        min_annotators: Annotators that a right moment agrees with.
    """

    top_k: tuple[int, ...] = (1, 5, 10, 100)
    ious: tuple[float, ...] = (0.5, 0.7)
    min_annotators: int = 1

    def __str__(self) -> str:
        ks, ious = (', '.join(map(str, x)) for x in (self.top_k, self.ious))
        return f'K {ks}, IoU {ious} and {self.min_annotators} annotator(s)'


@dataclass(frozen=True)
class Asked:
    """A query with its right answers.

    Attributes:
        query_id: Its id, as text.
        text: The sentence.
        query_type: What it is about, where the annotation tells.
        own_video: Place of its own video; None: unknown, and it has no SVMR.
        truth: Right moments; ``video_ids`` are places of videos.
    """

    query_id: str
    text: str
    query_type: str | None
    own_video: int | None
    truth: Truth

    @property
    def video(self) -> int:
        """Place of its own video, if that has a right moment, or of the first right moment's."""
        right = self.truth.video_ids.tolist()
        return self.own_video if self.own_video in right else right[0]


@dataclass(frozen=True)
class Reference:
    """What rows are compared on; a video is named by its place.

    Attributes:
        source: Config that it was read from.
        ann_file: File of the queries.
        queries: Q queries.
        video_names: N names.
        video_ids: N numbers by which predictions of the config name a video.
        durations: N lengths in seconds.
        protocol: What counts as right.
    """

    source: str
    ann_file: str
    queries: tuple[Asked, ...]
    video_names: tuple[str, ...]
    video_ids: tuple[int, ...]
    durations: tuple[float, ...]
    protocol: Protocol

    @cached_property
    def query_places(self) -> dict[str, int]:
        """Place of each query by its id."""
        return {query.query_id: i for i, query in enumerate(self.queries)}

    @cached_property
    def video_places(self) -> dict[str, int]:
        """Place of each video by its name."""
        return {name: i for i, name in enumerate(self.video_names)}

    @cached_property
    def clusters(self) -> np.ndarray:
        """(Q,) int64, the video of each query."""
        return np.array([query.video for query in self.queries])

    @property
    def has_svmr(self) -> bool:
        """Whether each query names its own video."""
        return all(query.own_video is not None for query in self.queries)

    @property
    def has_one_right_video(self) -> bool:
        """Whether all right moments of a query are in one video, for each query."""
        return all(len(set(query.truth.video_ids.tolist())) == 1 for query in self.queries)

    @property
    def hours(self) -> float:
        """Hours of all videos."""
        return sum(self.durations) / 3600


def read_reference(cfg: Config) -> Reference | None:
    """Read what a config tests on, features aside.

    Returns:
        None if the config is one of another package, whose data sets list no corpus.

    Raises:
        InputError: The annotation cannot be used, or a query has no right answer.
    """
    loaders = [cfg.get('test_dataloader'), cfg.get('test_corpus_dataloader')]
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        if None in loaders or not all(_is_ours(loader['dataset']) for loader in loaders):
            return None
        queries, corpus = (
            DATASETS.build({**loader['dataset'], 'pipeline': []}) for loader in loaders
        )
        protocol = read_protocol(cfg.get('test_evaluator') or ())
    queries.check_corpus(corpus)
    videos = [corpus.get_data_info(i) for i in range(len(corpus))]
    places = {video['video_id']: i for i, video in enumerate(videos)}
    records = [queries.get_data_info(i) for i in range(len(queries))]
    return Reference(
        str(cfg.filename),
        queries.ann_file,
        tuple(_asked(record, places, queries.ann_file) for record in records),
        tuple(video['video_name'] for video in videos),
        tuple(places),
        tuple(float(video['duration']) for video in videos),
        protocol,
    )


def read_protocol(evaluators: dict | Sequence[dict]) -> Protocol:
    """Take K, IoU and annotators from the recalls of a ``test_evaluator``."""
    evaluators = [evaluators] if isinstance(evaluators, dict) else evaluators
    kinds = [(METRICS.get(str(one['type'])), one) for one in evaluators]
    recalls = [
        METRICS.build(one)
        for kind, one in kinds
        if isinstance(kind, type) and issubclass(kind, (MomentRecall, VideoRecall))
    ]
    moments = [recall for recall in recalls if isinstance(recall, MomentRecall)]
    default = Protocol()
    return Protocol(
        tuple(sorted({k for recall in recalls for k in recall.top_k})) or default.top_k,
        tuple(sorted({iou for recall in moments for iou in recall.ious})) or default.ious,
        max((recall.min_annotators for recall in moments), default=default.min_annotators),
    )


def check_same(reference: Reference, other: Reference) -> None:
    """Check that a config tests on the same queries, answers and videos, protocol aside.

    Raises:
        InputError: It says how they differ.
    """
    both = f'{other.source} and {reference.source}'
    remedy = 'compare models on the same data: give their configs the same annotation'
    for kind, here, there in (
        ('queries', other.query_places, reference.query_places),
        ('videos', other.video_places, reference.video_places),
    ):
        ours, theirs = sorted(here.keys() - there.keys()), sorted(there.keys() - here.keys())
        if ours or theirs:
            raise InputError(
                f'{both} test on different {kind}: {len(here)} and {len(there)}, of which '
                f'{len(here.keys() & there.keys())} are the same'
                f'{_such_as(ours, "first")}{_such_as(theirs, "second")}; {remedy}'
            )
    for name, place in other.video_places.items():
        here, there = other.durations[place], reference.durations[reference.video_places[name]]
        if abs(here - there) > _TOLERANCE:
            raise InputError(
                f'{both} differ in the duration of video {name!r}: {here:g} s and {there:g} s; '
                f'{remedy}'
            )
    for query in other.queries:
        same = reference.queries[reference.query_places[query.query_id]]
        theirs = _compared(same, reference)
        for what, value in _compared(query, other).items():
            if not _equal(value, theirs[what]):
                raise InputError(
                    f'{both} differ in query {query.query_id!r}, in the {what}: {value} and '
                    f'{theirs[what]}; {remedy}'
                )


def protocol_notes(reference: Reference, others: Iterable[Reference | None]) -> list[str]:
    """Say which protocol is used where the configs have several.

    Args:
        reference: The one whose protocol is used.
        others: What other configs test on; None: a config of another package.
    """
    differing = {
        other.source: other.protocol
        for other in others
        if other is not None and other.protocol != reference.protocol
    }
    if not differing:
        return []
    also = ', '.join(f'{protocol} of {source}' for source, protocol in differing.items())
    return [
        f'All recalls are computed by {reference.protocol} of {reference.source}, not by {also}.'
    ]


def _compared(query: Asked, of: Reference) -> dict[str, Any]:
    """What queries of the same id have to have in common."""
    truth = query.truth
    return {
        'text': query.text,
        'own video': None if query.own_video is None else of.video_names[query.own_video],
        'right videos': [of.video_names[place] for place in truth.video_ids.tolist()],
        'right moments': truth.moments.tolist(),
        'annotators': None if truth.annotators is None else truth.annotators.tolist(),
    }


def _equal(a: Any, b: Any) -> bool:
    """Compare texts, or moments as seconds that may be rounded."""
    if not isinstance(a, list) or not isinstance(b, list) or not isinstance(a[0], list):
        return a == b
    return len(a) == len(b) and np.allclose(a, b, rtol=0, atol=_TOLERANCE)


def _such_as(names: Sequence[str], which: str) -> str:
    return f'; only the {which} has {names[0]!r}' if names else ''


def _is_ours(dataset: dict) -> bool:
    kind = DATASETS.get(str(dataset['type']))
    return isinstance(kind, type) and issubclass(kind, (QueryDataset, CorpusDataset))


def _asked(record: dict, places: dict[int, int], ann_file: str) -> Asked:
    if 'gt' not in record:
        raise InputError(
            f'{ann_file}: query {record["query_id"]!r} has no answer to compare with; benchmark on '
            'a split with answers'
        )
    truth = ground_truth(record, 'the benchmark')
    if not len(truth.video_ids):
        raise InputError(
            f'{ann_file}: all moments of query {record["query_id"]!r} have relevance 0, expected '
            'one that is right; leave the query out, as min_relevance of TVRRankingReader does'
        )
    videos = np.array([places[number] for number in truth.video_ids.tolist()])
    return Asked(
        str(record['query_id']),
        record['query'],
        record.get('query_type'),
        places.get(record.get('video_id')),
        truth._replace(video_ids=videos),
    )
