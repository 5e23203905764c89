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
    more) beside ``gt`` (2,). Their seconds follow from the duration of the video, which the
    pipeline has to put into the meta information:
    ``PackLocalizationInputs(meta_keys=(…, 'duration'))``.

    Args:
        top_k: The K.
        iou_thresholds: IoU that a right moment reaches.
        **kwargs: Passed to mmengine's BaseMetric.
    """

    def __init__(
        self,
        top_k: Sequence[int] = (1, 5),
        iou_thresholds: Sequence[float] = (0.5, 0.7),
        **kwargs: Any,
    ) -> None:
        super().__init__('SVMR', top_k, iou_thresholds, by_type=False, **kwargs)

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict]) -> None:
        """Note which ranks are right."""
        queries = zip(data_batch['data_samples'], data_samples, strict=True)
        answers = [as_answer(result, _duration(sample)) for sample, result in queries]
        super().process(data_batch, answers)


def as_answer(result: dict[str, Any], duration: float) -> dict[str, Any]:
    """Return spans as parts of a video in the form that :class:`MomentRecall` reads.

    Args:
        result: ``gt`` (2,) and ``predictions`` (n, 2 or more), from 0 to 1.
        duration: Seconds.
    """
    spans = np.array([span[:2] for span in result['predictions']], dtype=np.float64).reshape(-1, 2)
    right = np.asarray(result['gt'], dtype=np.float64).reshape(1, 2)
    # The video is known, so that any number will do for it.
    return dict(
        query_id=result.get('vid_name'),
        video_id=0,
        gt=dict(video_ids=np.zeros(1, dtype=np.int64), moments=right * duration),
        pred_svmr=dict(video_ids=np.zeros(len(spans), dtype=np.int64), moments=spans * duration),
    )


def _duration(sample: BaseDataElement) -> float:
    if 'duration' not in sample.metainfo:
        raise InputError(
            f'GroundingRecall: the samples have {sorted(sample.metainfo)} and no duration; add '
            "'duration' to meta_keys of PackLocalizationInputs in the test pipeline"
        )
    return float(sample.metainfo['duration'])
