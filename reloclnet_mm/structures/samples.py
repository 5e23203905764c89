"""Data samples: a query, its truth and its predictions."""

from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor


class MomentDataSample(BaseDataElement):
    """One query: its truth and its predictions.

    Meta information, as far as the annotation has it: ``query_id``,
    ``query``, ``query_type``, ``video_name``, ``video_id``, ``duration`` (s),
    ``seconds_per_clip`` (s).

    Data fields of the truth:

    - ``gt_moments`` (A, 2) float64: the moments of A annotators, seconds.
    - ``gt_span`` (2,) int64: first and last clip of the first annotator.

    Data fields of a prediction, each an :class:`~mmengine.structures.InstanceData`
    in descending order of its ``scores``:

    - ``pred_vr``: ``video_ids`` (K,), ``scores`` (K,).
    - ``pred_vcmr``: ``video_ids`` (K,), ``moments`` (K, 2) in seconds, ``scores`` (K,).
    - ``pred_svmr``: the same in the query's own video.
    """

    gt_moments: Tensor
    gt_span: Tensor
    pred_vr: InstanceData
    pred_vcmr: InstanceData
    pred_svmr: InstanceData
