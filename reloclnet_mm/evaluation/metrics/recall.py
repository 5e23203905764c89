"""Recalls as mmengine metrics."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from reloclnet_mm.evaluation.functional import recall_at, stack_worths, video_hits
from reloclnet_mm.evaluation.metrics.truth import check_list, ground_truth
from reloclnet_mm.evaluation.table import Cell, recall_cells, recall_name
from reloclnet_mm.registry import METRICS
from reloclnet_mm.utils.checks import check_choice, check_count, check_number

_SUMMED = (1, 5, 10, 100)


class RankedRecall(BaseMetric):
    """R@K in percent, of all queries and of each query type; the base of recalls.

    Args:
        top_k: The K.
        ious: IoU thresholds, one recall each; None: the recall has none.
        by_type: Whether to report each query type too.
        **kwargs: Passed to mmengine's BaseMetric.
    """

    def __init__(
        self, *, top_k: Sequence[int], ious: Sequence[float | None], by_type: bool, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.top_k = check_list(f'{type(self).__name__}: top_k', top_k, check_count)
        self.ious = ious
        self.by_type = by_type

    @abstractmethod
    def hits(self, sample: dict[str, Any]) -> NDArray:
        """Tell for each of the T thresholds which ranks are right, (T, K) bool.

        Args:
            sample: A data sample as a dict.

        Raises:
            InputError: The query has no answer.
        """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Note which ranks are right."""
        for sample in data_samples:
            hits = self.hits(sample)[:, : max(self.top_k)]
            self.results.append(dict(hits=hits, query_type=sample.get('query_type')))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute ``R{K}`` or ``R{K}@{IoU}``, and the same under ``{type}/``."""
        recalls = self._measure(results)
        types = {r['query_type'] for r in results}
        # One type only would repeat the recalls of all queries.
        if self.by_type and len(types) > 1:
            for query_type in sorted(filter(None, types)):
                chosen = [r for r in results if r['query_type'] == query_type]
                recalls |= {f'{query_type}/{name}': x for name, x in self._measure(chosen).items()}
        return recalls

    def table_cells(self) -> list[Cell]:
        """List the cells of the table that the recalls fill."""
        return recall_cells(self.prefix, self.prefix, self.top_k, self.ious)

    def _measure(self, results: list[dict]) -> dict[str, float]:
        nothing = np.zeros((0, len(self.ious), 1), bool)
        hits = stack_worths([r['hits'] for r in results]) if results else nothing
        return {
            recall_name(k, iou): recall_at(hits[:, i], k)
            for i, iou in enumerate(self.ious)
            for k in self.top_k
        }


@METRICS.register_module()
class VideoRecall(RankedRecall):
    """R@K of video retrieval (VR): the video of a right moment is among the first K. In percent.

    Where 1, 5, 10 and 100 are among the K, ``SumR`` is the sum of these four recalls, by which
    partially relevant video retrieval compares models (Dong et al., ACM MM 2022).

    Args:
        top_k: The K.
        by_type: Whether to report each query type too.
        **kwargs: Passed to mmengine's BaseMetric.
    """

    default_prefix = 'VR'

    def __init__(
        self, top_k: Sequence[int] = (1, 5, 10, 100), by_type: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(top_k=top_k, ious=(None,), by_type=by_type, **kwargs)

    def hits(self, sample: dict[str, Any]) -> NDArray:
        """Tell which ranked videos have a right moment, (1, K) bool."""
        truth = ground_truth(sample, 'VideoRecall')
        return video_hits(sample['pred_vr']['video_ids'], truth.video_ids)

    def table_cells(self) -> list[Cell]:
        """List the cells of the recalls, and the one of their sum below them."""
        last = Cell(max(self.top_k) + 1, 'SumR', self.prefix, f'{self.prefix}/SumR')
        return [*super().table_cells(), last]

    def _measure(self, results: list[dict]) -> dict[str, float]:
        recalls = super()._measure(results)
        summed = [recalls.get(recall_name(k, None)) for k in _SUMMED]
        if None not in summed:
            recalls['SumR'] = round(sum(summed), 2)
        return recalls


@METRICS.register_module()
class MomentRecall(RankedRecall):
    """R@K of moment retrieval: a right moment is among the first K. In percent.

    Beside the recalls, ``R1@0.5+0.7`` is the sum of R@1 over the thresholds, by which training is
    stopped early and the best checkpoint kept.

    Args:
        task: ``VCMR``: in the corpus; ``SVMR``: in the query's own video, where moments of other
            videos are never right.
        top_k: The K.
        iou_thresholds: IoU that a right moment reaches, each above 0 and at most 1.
        min_annotators: How many annotators a right moment agrees with; DiDeMo asks for 2.
        by_type: Whether to report each query type too.
        prefix: Prefix of the names; None: the task.
        **kwargs: Passed to mmengine's BaseMetric.
    """

    def __init__(
        self,
        task: Literal['VCMR', 'SVMR'],
        top_k: Sequence[int] = (1, 5, 10, 100),
        iou_thresholds: Sequence[float] = (0.5, 0.7),
        min_annotators: int = 1,
        by_type: bool = True,
        prefix: str | None = None,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        check_choice(f'{name}: task', task, ('VCMR', 'SVMR'))
        check_count(f'{name}: min_annotators', min_annotators)
        thresholds = f'{name}: iou_thresholds'
        ious = check_list(thresholds, iou_thresholds, check_number, above=0, high=1)
        super().__init__(top_k=top_k, ious=ious, by_type=by_type, prefix=prefix or task, **kwargs)
        self.task = task
        self.min_annotators = min_annotators

    def hits(self, sample: dict[str, Any]) -> NDArray:
        """Tell for each threshold which ranked moments are right, (T, K) bool."""
        in_own_video = self.task == 'SVMR'
        truth = ground_truth(sample, f'MomentRecall of {self.task}', in_own_video=in_own_video)
        found = sample[f'pred_{self.task.lower()}']
        return truth.hits(found['video_ids'], found['moments'], self.ious, self.min_annotators)

    def _measure(self, results: list[dict]) -> dict[str, float]:
        recalls = super()._measure(results)
        if 1 in self.top_k and len(self.ious) > 1:
            best = sum(recalls[recall_name(1, iou)] for iou in self.ious)
            recalls['R1@' + '+'.join(map(str, self.ious))] = round(best, 2)
        return recalls
