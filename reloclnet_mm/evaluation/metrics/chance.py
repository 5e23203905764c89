"""Recalls that a random ranking would reach, as an mmengine metric."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.chance import candidate_spans, mean_chance
from reloclnet_mm.evaluation.metrics.truth import Truth, check_list, ground_truth
from reloclnet_mm.evaluation.table import Cell, recall_cells, recall_name
from reloclnet_mm.registry import METRICS
from reloclnet_mm.structures.clips import SpanEnd
from reloclnet_mm.structures.corpus import CorpusInfo
from reloclnet_mm.utils.checks import check_count, check_number


@METRICS.register_module()
class ChanceRecall(BaseMetric):
    """What a ranking drawn at random would reach, in closed form. In percent.

    Videos are drawn from the corpus, moments from all spans that the model may answer. The corpus
    loops put both into ``dataset_meta``: ``corpus``, and ``span_limits``, as
    :func:`~reloclnet_mm.evaluation.chance.candidate_spans` takes them; None for a model whose
    moments are no spans of clips: then only VR is reported.

    Args:
        top_k: The K.
        iou_thresholds: IoU that a right moment reaches, each above 0 and at most 1.
        min_annotators: How many annotators a right moment agrees with.
        **kwargs: Passed to mmengine's BaseMetric.
    """

    default_prefix = 'chance'

    def __init__(
        self,
        top_k: Sequence[int] = (1, 5, 10, 100),
        iou_thresholds: Sequence[float] = (0.5, 0.7),
        min_annotators: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        ious = 'ChanceRecall: iou_thresholds'
        self.top_k = check_list('ChanceRecall: top_k', top_k, check_count)
        self.ious = check_list(ious, iou_thresholds, check_number, above=0, high=1)
        check_count('ChanceRecall: min_annotators', min_annotators)
        self.min_annotators = min_annotators

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the answers.

        Raises:
            InputError: A query has none.
        """
        for sample in data_samples:
            truth = ground_truth(sample, 'ChanceRecall')
            self.results.append(dict(truth=tuple(truth), own=sample.get('video_id')))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the expected ``VR/R{K}``, ``SVMR/R{K}@{IoU}`` and ``VCMR/R{K}@{IoU}``.

        Raises:
            InputError: No corpus loop ran the evaluation.
        """
        meta = self._meta()
        if meta['span_limits'] is None:
            counts = [len(set(result['truth'][0].tolist())) for result in results]
            return self._video_recalls(counts, len(meta['corpus'].video_ids))
        candidates = candidate_moments(meta['corpus'], *meta['span_limits'])
        videos, own, corpus = [], [], []
        for result in results:
            truth = Truth(*result['truth'])
            right = {
                v: truth.hits(
                    np.full(len(candidates[v]), v), candidates[v], self.ious, self.min_annotators
                ).sum(1)
                for v in set(truth.video_ids.tolist())
            }
            videos.append(len(right))
            corpus.append(sum(right.values()))
            if result['own'] is not None:
                none = np.zeros(len(self.ious), int)
                own.append((right.get(result['own'], none), len(candidates[result['own']])))
        total = sum(map(len, candidates.values()))
        recalls = self._video_recalls(videos, len(candidates))
        for i, iou in enumerate(self.ious):
            for k in self.top_k:
                name = recall_name(k, iou)
                svmr = mean_chance([right[i] for right, _ in own], [n for _, n in own], k)
                recalls |= {f'SVMR/{name}': svmr}
                recalls |= {f'VCMR/{name}': mean_chance([right[i] for right in corpus], total, k)}
        return recalls

    def table_cells(self) -> list[Cell]:
        """List the cells of the table in whose brackets the recalls are."""
        tasks = {'VR': (None,), 'SVMR': self.ious, 'VCMR': self.ious}
        return [
            cell
            for task, ious in tasks.items()
            for cell in recall_cells(f'{self.prefix}/{task}', task, self.top_k, ious, True)
        ]

    def _video_recalls(self, num_right: list[int], num_videos: int) -> dict[str, float]:
        return {
            f'VR/{recall_name(k, None)}': mean_chance(num_right, num_videos, k) for k in self.top_k
        }

    def _meta(self) -> dict[str, Any]:
        meta = self.dataset_meta or {}
        if not {'corpus', 'span_limits'} <= meta.keys():
            raise InputError(
                f'ChanceRecall: dataset_meta has {sorted(meta)}, expected corpus and span_limits; '
                "evaluate with val_cfg=dict(type='CorpusValLoop') and "
                "test_cfg=dict(type='CorpusTestLoop')"
            )
        return meta


def candidate_moments(
    corpus: CorpusInfo, min_span: int, max_span: int, span_end: SpanEnd = 'official'
) -> dict[int, NDArray[np.float64]]:
    """List the moments (S, 2) in seconds that may be answered in each video, by its id.

    Args:
        corpus: The videos.
        min_span: Smallest j − i of a span (i, j).
        max_span: Smallest j − i that is too long.
        span_end: See :func:`~reloclnet_mm.evaluation.chance.candidate_spans`.
    """
    limits = min_span, max_span, span_end
    spans = {n: candidate_spans(n, *limits) for n in set(corpus.num_clips)}
    videos = zip(corpus.video_ids, corpus.num_clips, corpus.seconds_per_clip, strict=True)
    return {video_id: spans[n] * seconds for video_id, n, seconds in videos}
