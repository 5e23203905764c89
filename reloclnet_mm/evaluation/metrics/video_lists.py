"""Keeping the videos that a model ranks for each query."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from reloclnet_mm.registry import METRICS
from reloclnet_mm.structures.video_lists import NUM_SCORED, VideoLists


@METRICS.register_module()
class VideoListCollector(BaseMetric):
    """Keep the ranked videos of all queries; reports no number.

    Attributes:
        found: ``query_ids``, ``video_ids`` and ``scores``, as :meth:`VideoLists.of` takes them, in
            the first process after an evaluation.
        videos: The corpus, video id to name.

    Args:
        **kwargs: Passed to mmengine's BaseMetric.
    """

    default_prefix = 'lists'

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.found: dict[str, tuple] = {}
        self.videos: dict[int, str] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the lists of a batch."""
        for sample in data_samples:
            ranked = sample['pred_vr']
            ids, scores = ranked['video_ids'], ranked['scores'][:NUM_SCORED]
            # Copies, for a view would keep the lists of the whole batch.
            self.results.append((str(sample['query_id']), ids.clone(), scores.clone()))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Put the lists of all queries together."""
        corpus = self.dataset_meta['corpus']
        self.videos = dict(zip(corpus.video_ids, corpus.video_names, strict=True))
        names = ('query_ids', 'video_ids', 'scores')
        self.found = dict(zip(names, zip(*results, strict=True), strict=True))
        return {}

    def lists(self, model: str) -> VideoLists:
        """Return the lists.

        Args:
            model: Checksum of the model that ranked.
        """
        return VideoLists.of(**self.found, videos=self.videos, model=model)
