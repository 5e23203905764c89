"""Recalls as mmengine metrics."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from mmengine.evaluator import BaseMetric

from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.chance import candidate_spans, chance_of_hit, right_candidates
from reloclnet_mm.evaluation.functional import first_moment_hits, first_video_hit, recall_at
from reloclnet_mm.registry import METRICS


def ground_truth(sample: dict[str, Any], needed_by: str) -> tuple[int, np.ndarray]:
    """The right video's id and the moments (A, 2) of a query.

    Args:
        sample: A data sample as a dict.
        needed_by: Whose need it is, for the message.

    Raises:
        InputError: The query has no answer.
    """
    if 'gt' not in sample or 'video_id' not in sample:
        raise InputError(
            f'{needed_by}: query {sample["query_id"]!r} has no answer to compare with; evaluate a '
            "split with answers, or leave only dict(type='TVRSubmission') in the evaluator"
        )
    return sample['video_id'], np.asarray(sample['gt']['moments'])


def recalls_by_type(
    results: list[dict[str, Any]], measure: Callable[[list[dict]], dict[str, float]], by_type: bool
) -> dict[str, float]:
    """Measure all results, and those of each query type under ``type/name``.

    Args:
        results: A dict a query, with ``query_type``.
        measure: Results to recalls by name.
        by_type: Whether to measure types too.
    """
    recalls = measure(results)
    if by_type:
        for query_type in sorted({r['query_type'] for r in results if r['query_type']}):
            chosen = [r for r in results if r['query_type'] == query_type]
            recalls |= {f'{query_type}/{name}': x for name, x in measure(chosen).items()}
    return recalls


@METRICS.register_module()
class VideoRecall(BaseMetric):
    """R@K of video retrieval (VR): the right video is among the first K. In percent.

    Args:
        top_k: The K.
        by_type: Whether to report each query type too.
        collect_device: Of mmengine's BaseMetric.
        prefix: Of the names.
        collect_dir: Of mmengine's BaseMetric.
    """

    default_prefix = 'VR'

    def __init__(
        self,
        top_k: Sequence[int] = (1, 5, 10, 100),
        by_type: bool = True,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.top_k = tuple(top_k)
        self.by_type = by_type

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Note the rank of the right video."""
        for sample in data_samples:
            video_id, _ = ground_truth(sample, 'VideoRecall')
            rank = first_video_hit(np.asarray(sample['pred_vr']['video_ids']), video_id)
            self.results.append(dict(rank=rank, query_type=sample.get('query_type')))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Recalls ``R{K}``, and ``{type}/R{K}``."""
        return recalls_by_type(results, self._measure, self.by_type)

    def _measure(self, results: list[dict]) -> dict[str, float]:
        ranks = np.array([r['rank'] for r in results])
        return {f'R{k}': recall_at(ranks, k) for k in self.top_k}


@METRICS.register_module()
class MomentRecall(BaseMetric):
    """R@K of moment retrieval: a right moment is among the first K. In percent.

    Beside the recalls, ``R1@0.5+0.7`` is the sum of R@1 over the thresholds, by which training is
    stopped early and the best checkpoint kept.

    Args:
        task: ``VCMR``: in the corpus; ``SVMR``: in the query's own video.
        top_k: The K.
        iou_thresholds: IoU that a right moment reaches.
        min_annotators: How many annotated moments a right one agrees with; DiDeMo asks for 2.
        by_type: Whether to report each query type too.
        collect_device: Of mmengine's BaseMetric.
        prefix: Of the names; None: the task.
        collect_dir: Of mmengine's BaseMetric.
    """

    def __init__(
        self,
        task: Literal['VCMR', 'SVMR'],
        top_k: Sequence[int] = (1, 5, 10, 100),
        iou_thresholds: Sequence[float] = (0.5, 0.7),
        min_annotators: int = 1,
        by_type: bool = True,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        if task not in ('VCMR', 'SVMR'):
            raise ValueError(f"MomentRecall: task is {task!r}, expected 'VCMR' or 'SVMR'")
        super().__init__(collect_device, prefix or task, collect_dir)
        self.task = task
        self.top_k = tuple(top_k)
        self.iou_thresholds = tuple(iou_thresholds)
        self.min_annotators = min_annotators
        self.by_type = by_type

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Note the rank of the first right moment for each threshold."""
        for sample in data_samples:
            video_id, moments = ground_truth(sample, f'MomentRecall of {self.task}')
            predicted = sample[f'pred_{self.task.lower()}']
            ranks = first_moment_hits(
                np.asarray(predicted['video_ids']),
                np.asarray(predicted['moments']),
                video_id,
                moments,
                np.array(self.iou_thresholds),
                self.min_annotators,
            )
            self.results.append(dict(ranks=ranks, query_type=sample.get('query_type')))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Recalls ``R{K}@{IoU}`` and ``{type}/R{K}@{IoU}``, and the sum of R@1."""
        return recalls_by_type(results, self._measure, self.by_type)

    def _measure(self, results: list[dict]) -> dict[str, float]:
        ranks = np.array([r['ranks'] for r in results])
        recalls = {
            f'R{k}@{iou}': recall_at(ranks[:, i], k)
            for i, iou in enumerate(self.iou_thresholds)
            for k in self.top_k
        }
        if 1 in self.top_k and len(self.iou_thresholds) > 1:
            name = 'R1@' + '+'.join(str(iou) for iou in self.iou_thresholds)
            recalls[name] = round(sum(recalls[f'R1@{iou}'] for iou in self.iou_thresholds), 2)
        return recalls


@METRICS.register_module()
class ChanceRecall(BaseMetric):
    """What a ranking drawn at random would reach, in closed form. In percent.

    Videos are drawn from the corpus, moments from all spans that the model may answer.

    Args:
        top_k: The K.
        iou_thresholds: IoU that a right moment reaches.
        min_span: Smallest j − i of a span (i, j) in clips.
        max_span: Smallest j − i that is too long.
        min_annotators: How many annotated moments a right one agrees with.
        collect_device: Of mmengine's BaseMetric.
        prefix: Of the names.
        collect_dir: Of mmengine's BaseMetric.
    """

    default_prefix = 'chance'

    def __init__(
        self,
        top_k: Sequence[int] = (1, 5, 10, 100),
        iou_thresholds: Sequence[float] = (0.5, 0.7),
        min_span: int = 2,
        max_span: int = 16,
        min_annotators: int = 1,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.top_k = tuple(top_k)
        self.iou_thresholds = tuple(iou_thresholds)
        self.min_span = min_span
        self.max_span = max_span
        self.min_annotators = min_annotators

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the answers."""
        for sample in data_samples:
            video_id, moments = ground_truth(sample, 'ChanceRecall')
            self.results.append(dict(video_id=video_id, moments=moments))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Expected recalls ``VR/R{K}``, ``SVMR/R{K}@{IoU}`` and ``VCMR/R{K}@{IoU}``."""
        corpus = self.dataset_meta['corpus']
        row_of = {video_id: row for row, video_id in enumerate(corpus.video_ids)}
        spans = {n: candidate_spans(n, self.min_span, self.max_span) for n in set(corpus.num_clips)}
        total = sum(len(spans[n]) for n in corpus.num_clips)
        recalls = {f'VR/R{k}': round(100 * chance_of_hit(1, len(row_of), k), 2) for k in self.top_k}
        for iou in self.iou_thresholds:
            counts = []
            for result in results:
                row = row_of[result['video_id']]
                own = spans[corpus.num_clips[row]]
                right = right_candidates(
                    own,
                    corpus.seconds_per_clip[row],
                    result['moments'],
                    iou,
                    self.min_annotators,
                )
                counts.append((right, len(own)))
            for k in self.top_k:
                svmr = np.mean([chance_of_hit(right, own, k) for right, own in counts])
                vcmr = np.mean([chance_of_hit(right, total, k) for right, _ in counts])
                recalls[f'SVMR/R{k}@{iou}'] = round(100 * float(svmr), 2)
                recalls[f'VCMR/R{k}@{iou}'] = round(100 * float(vcmr), 2)
        return recalls
