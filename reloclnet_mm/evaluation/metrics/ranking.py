"""NDCG of ranked moment retrieval, as an mmengine metric."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.functional import gains, match_moments, ndcg_at
from reloclnet_mm.evaluation.metrics.truth import check_list, ground_truth
from reloclnet_mm.evaluation.table import Cell
from reloclnet_mm.registry import METRICS
from reloclnet_mm.utils.checks import check_count, check_number


@METRICS.register_module()
class RankingNDCG(BaseMetric):
    """NDCG@K of moments ranked in the corpus (VCMR), where moments are relevant by degrees.

    As TVR-Ranking has it (Liang et al., 2024): from the best rank down, an answer takes the
    relevance of the moment that it overlaps most among those not yet taken, if their IoU is above
    the threshold. Moments of relevance 0 are taken too, and gain nothing. The gain is
    2^relevance − 1, the ideal list has the K most relevant moments. Mean over queries, in percent
    and not rounded; TVR-Ranking prints 0.4059 for 40.59.

    Args:
        top_k: The K.
        iou_thresholds: IoU that an answer has to exceed, each above 0 and below 1.
        **kwargs: Passed to mmengine's BaseMetric.
    """

    default_prefix = 'VCMR'

    def __init__(
        self,
        top_k: Sequence[int] = (10, 20, 40),
        iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        ious = 'RankingNDCG: iou_thresholds'
        self.top_k = check_list('RankingNDCG: top_k', top_k, check_count)
        self.ious = check_list(ious, iou_thresholds, check_number, above=0, below=1)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Compute the NDCG of each query.

        Raises:
            InputError: A query has no answer, or its moments no relevance.
        """
        for sample in data_samples:
            truth = ground_truth(sample, 'RankingNDCG', irrelevant=True)
            if truth.relevance is None:
                raise InputError(
                    f'RankingNDCG: the moments of query {sample["query_id"]!r} have no relevance; '
                    'read the annotation with a reader that has it, such as TVRRankingReader, or '
                    'leave this metric out'
                )
            found = sample['pred_vcmr']
            overlap = truth.overlaps(found['video_ids'], found['moments'])[: max(self.top_k)]
            matches = match_moments(overlap, self.ious, strict=True)
            gained = gains(truth.relevance, matches)
            ideal = np.tile(gains(truth.relevance), (len(self.ious), 1))
            self.results.append(np.stack([ndcg_at(gained, ideal, k) for k in self.top_k], 1))

    def compute_metrics(self, results: list[NDArray]) -> dict[str, float]:
        """Compute ``NDCG{K}@{IoU}``; NaN without queries."""
        nothing = np.full((len(self.ious), len(self.top_k)), np.nan)
        means = 100 * np.mean(results, 0) if results else nothing
        return {
            f'NDCG{k}@{iou}': float(x)
            for iou, row in zip(self.ious, means, strict=True)
            for k, x in zip(self.top_k, row, strict=True)
        }

    def table_cells(self) -> list[Cell]:
        """List the cells of a table of their own: a row a K, a column an IoU."""
        return [
            Cell(k, f'NDCG@{k}', f'IoU {iou}', f'{self.prefix}/NDCG{k}@{iou}', table=self.prefix)
            for iou in self.ious
            for k in self.top_k
        ]
