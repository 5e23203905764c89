"""Recalls of models of other packages that find moments in one video."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement

from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.metrics.recall import MomentRecall
from reloclnet_mm.registry import METRICS


@METRICS.register_module()
class GroundingRecall(MomentRecall):
    """SVMR of a model of mmaction2, such as DRN, as :class:`MomentRecall` measures ours.

    Such a model answers with spans as parts of the video, best first: ``predictions`` (n, 2 or
    more) beside ``gt`` (2,). Seconds come from the duration of the video, which the pipeline has to
    put into the meta information: ``PackLocalizationInputs(meta_keys=(…, 'duration'))``.

    Args:
        top_k: The K.
        iou_thresholds: IoU that a right moment reaches.
        collect_device: Of mmengine's BaseMetric.
        prefix: Of the names.
        collect_dir: Of mmengine's BaseMetric.
    """

    def __init__(
        self,
        top_k: Sequence[int] = (1, 5),
        iou_thresholds: Sequence[float] = (0.5, 0.7),
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(
            'SVMR',
            top_k,
            iou_thresholds,
            by_type=False,
            collect_device=collect_device,
            prefix=prefix,
            collect_dir=collect_dir,
        )

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict]) -> None:
        """Note the rank of the first right moment for each threshold."""
        queries = zip(data_batch['data_samples'], data_samples, strict=True)
        answers = [as_answer(result, _duration(sample)) for sample, result in queries]
        super().process(data_batch, answers)


def as_answer(result: dict[str, Any], duration: float) -> dict[str, Any]:
    """Spans as parts of a video in the form that :class:`MomentRecall` reads.

    Args:
        result: ``gt`` (2,) and ``predictions`` (n, 2 or more), from 0 to 1.
        duration: Seconds.
    """
    spans = np.array([span[:2] for span in result['predictions']], dtype=np.float64)
    moments = spans.reshape(-1, 2) * duration
    # The video is known, so that any number will do for it.
    return dict(
        query_id=result.get('vid_name'),
        query_type=None,
        video_id=0,
        gt=dict(moments=np.asarray(result['gt'], dtype=np.float64).reshape(1, 2) * duration),
        pred_svmr=dict(video_ids=np.zeros(len(moments), dtype=np.int64), moments=moments),
    )


def _duration(sample: BaseDataElement) -> float:
    if 'duration' not in sample.metainfo:
        raise InputError(
            f'GroundingRecall: the samples know {sorted(sample.metainfo)} and no duration; add '
            "'duration' to meta_keys of PackLocalizationInputs in the test pipeline"
        )
    return float(sample.metainfo['duration'])
