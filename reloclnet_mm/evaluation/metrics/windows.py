"""QVHighlights' metrics of queries with several right moments in a video."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from reloclnet_mm.evaluation.functional import average_precision, match_moments, moment_hits
from reloclnet_mm.evaluation.metrics.truth import Truth, check_list, ground_truth
from reloclnet_mm.evaluation.table import Cell
from reloclnet_mm.registry import METRICS
from reloclnet_mm.utils.checks import check_choice, check_count, check_number

AVERAGED_IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""IoU thresholds of the mean in ``mAP``."""

LENGTH_RANGES = dict(short=(0, 10), middle=(10, 30), long=(30, 150))
"""Seconds (above, up to) of QVHighlights' short, middle and long windows."""


@METRICS.register_module()
class QVHighlightsMetric(BaseMetric):
    """Mean average precision and R@1 where a query has several right moments (windows).

    As QVHighlights' own evaluation has it (Lei et al., NeurIPS 2021): a list is cut, each window is
    taken by one prediction at most, and precision is interpolated as in VOC. For a range of lengths
    only windows in that range are right, and queries without any are left out. In percent, rounded
    to two decimals.

    Each of ``full`` (all windows) and the ranges has ``{range}/mAP``, the mean over
    ``iou_thresholds``, and ``{range}/mAP@{IoU}`` and ``{range}/R1@{IoU}``.

    Args:
        task: ``SVMR``: in the query's own video, as in QVHighlights; ``VCMR``: in the corpus.
        iou_thresholds: IoU over which ``mAP`` is the mean, each above 0 and at most 1.
        map_ious: IoU of each ``mAP@{IoU}``.
        recall_ious: IoU of each ``R1@{IoU}``.
        length_ranges: Name to (low, high) in seconds; a window is longer than low and at most high.
        max_predictions: How many predictions of a list count.
        prefix: Prefix of the names; None: the task.
        **kwargs: Passed to mmengine's BaseMetric.
    """

    def __init__(
        self,
        task: Literal['SVMR', 'VCMR'] = 'SVMR',
        iou_thresholds: Sequence[float] = AVERAGED_IOUS,
        map_ious: Sequence[float] = (0.5, 0.75),
        recall_ious: Sequence[float] = (0.5, 0.7),
        length_ranges: Mapping[str, Sequence[float]] = LENGTH_RANGES,
        max_predictions: int = 10,
        prefix: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix=prefix or task, **kwargs)
        name = type(self).__name__
        check_choice(f'{name}: task', task, ('SVMR', 'VCMR'))
        check_count(f'{name}: max_predictions', max_predictions)
        limits = dict(above=0, high=1)
        self.task = task
        self.ious = check_list(f'{name}: iou_thresholds', iou_thresholds, check_number, **limits)
        self.map_ious = check_list(f'{name}: map_ious', map_ious, check_number, **limits)
        self.recall_ious = check_list(f'{name}: recall_ious', recall_ious, check_number, **limits)
        self.max_predictions = max_predictions
        self.ranges: dict[str, tuple[float, float]] = dict(full=(-np.inf, np.inf))
        for key, (low, high) in length_ranges.items():
            check_number(f'{name}: length_ranges[{key!r}]', high, above=low)
            self.ranges[key] = (low, high)
        self.names = (
            'mAP',
            *(f'mAP@{iou}' for iou in self.map_ious),
            *(f'R1@{iou}' for iou in self.recall_ious),
        )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Score each list for each range.

        Raises:
            InputError: A query has no answer.
        """
        in_own_video = self.task == 'SVMR'
        needed_by = f'QVHighlightsMetric of {self.task}'
        for sample in data_samples:
            truth = ground_truth(sample, needed_by, in_own_video=in_own_video)
            found = sample[f'pred_{self.task.lower()}']
            overlap = truth.overlaps(found['video_ids'], found['moments'])[: self.max_predictions]
            self.results.append(
                {name: self._score(overlap[:, mask]) for name, mask in self._masks(truth).items()}
            )

    def _masks(self, truth: Truth) -> dict[str, NDArray]:
        """Tell which windows (M,) are in each range, for ranges that have any."""
        length = truth.moments[:, 1] - truth.moments[:, 0]
        masks = {
            name: (length > low) & (length <= high) for name, (low, high) in self.ranges.items()
        }
        return {name: mask for name, mask in masks.items() if mask.any()}

    def _score(self, overlap: NDArray) -> NDArray:
        """Compute the metrics of one query, in the order of ``self.names``, from 0 to 1."""
        averaged, reported = (
            average_precision(match_moments(overlap, ious) >= 0, overlap.shape[1])
            for ious in (self.ious, self.map_ious)
        )
        first = moment_hits(overlap[:1], self.recall_ious).any(1)
        return np.concatenate([[averaged.mean()], reported, first])

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the metrics of each range; NaN where no query has a window in it."""
        metrics = {}
        for name in self.ranges:
            scores = [result[name] for result in results if name in result]
            means = np.mean(scores, 0) if scores else np.full(len(self.names), np.nan)
            for key, x in zip(self.names, means, strict=True):
                metrics[f'{name}/{key}'] = round(100 * float(x), 2)
        return metrics

    def table_cells(self) -> list[Cell]:
        """List the cells of a table of their own: a row a metric, a column a range."""
        return [
            Cell(i, row, column, f'{self.prefix}/{column}/{row}', table=f'{self.prefix} by length')
            for column in self.ranges
            for i, row in enumerate(self.names)
        ]
