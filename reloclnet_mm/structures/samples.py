"""Data samples: a query, its truth and its predictions."""

from mmengine.structures import BaseDataElement, InstanceData
from numpy.typing import NDArray


class MomentDataSample(BaseDataElement):
    """A query with its truth and its predictions.

    Meta information, as far as the annotation has it: ``query_id``, ``query``, ``query_type``;
    of the query's own video, or that of the moment to train on, ``video_name``, ``video_id``,
    ``source_id``, ``duration`` (seconds), ``num_clips``, ``seconds_per_clip``,
    ``span_end``. Of the videos that come with a query, its own one first: ``candidate_ids`` and
    ``candidate_clips``, lists of their ids and numbers of clips.

    Data fields of the truth are NumPy arrays, which a worker sends faster than tensors:

    - ``gt``: an :class:`~mmengine.structures.InstanceData` of M right moments, with
      ``video_ids`` (M,) int64, ``moments`` (M, 2) float64 in seconds and, where the annotation
      has them, ``annotators`` (M,) int64, ``relevance`` (M,) float64 and, where they are others
      than the video ids, ``source_ids`` (M,) int64, equal where videos are of one recording.
    - ``gt_span`` (2,) int64: the clips at which start and end of the moment to train on are to be
      predicted in the sample's video, the latter as ``span_end``, a
      :data:`~reloclnet_mm.structures.clips.SpanEnd`, says.
    - ``gt_moment`` (2,) float64: begin and end of that moment, in clips.
    - ``right_spans`` (N, 2) int64: those of all right moments in the sample's video.

    Data fields of a prediction, each an :class:`~mmengine.structures.InstanceData` of tensors
    in descending order of its ``scores``:

    - ``pred_vr``: ``video_ids`` (K,), ``scores`` (K,).
    - ``pred_vcmr``: ``video_ids`` (K,), ``moments`` (K, 2) in seconds, ``scores`` (K,).
    - ``pred_svmr``: the same in the query's own video.
    """

    gt: InstanceData
    gt_span: NDArray
    gt_moment: NDArray
    right_spans: NDArray
    pred_vr: InstanceData
    pred_vcmr: InstanceData
    pred_svmr: InstanceData
