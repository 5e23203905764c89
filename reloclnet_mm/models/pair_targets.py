"""What the losses of a training batch are computed against."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reloclnet_mm.models.encoded_pairs import gather_rows
from reloclnet_mm.structures import MomentDataSample


@dataclass(frozen=True)
class PairTargets:
    """The right answers to the queries of B pairs, each a query beside the video of its moment.

    Videos are told apart by the recording that they come from.

    Attributes:
        spans: (B, 2) int64, first and last clip of each pair's moment.
        sources: (B,) int64, recording of each pair's video.
        right_sources: (N,) int64, recordings with right moments, query after query.
        source_counts: (B,) int64, how many of them each query has.
        right_spans: (M, 2) int64, clips of the right moments in each pair's video, pair after pair.
        span_counts: (B,) int64, how many of them each pair has.
        moments: (B, 2) float64, begin and end of each pair's moment, in clips.
    """

    spans: Tensor
    sources: Tensor
    right_sources: Tensor
    source_counts: Tensor
    right_spans: Tensor
    span_counts: Tensor
    moments: Tensor

    @classmethod
    def of(cls, samples: Sequence[MomentDataSample], device: torch.device) -> 'PairTargets':
        """Collect the targets of a batch.

        Args:
            samples: Each with ``gt_span``, ``gt_moment`` (without it the moment is that of whole
                clips) and ``source_id`` or ``video_id``; ``gt`` and
                ``right_spans`` where there are further right moments.
            device: Where to put them.
        """
        right = [_right_sources(sample) for sample in samples]
        spans = [sample.get('right_spans', sample.gt_span[None]) for sample in samples]
        targets = (
            np.stack([sample.gt_span for sample in samples]),
            np.array([_source(sample) for sample in samples]),
            np.concatenate(right),
            np.array([len(x) for x in right]),
            np.concatenate(spans),
            np.array([len(x) for x in spans]),
            np.stack([_moment(sample) for sample in samples]),
        )
        return cls(*(torch.from_numpy(x).to(device) for x in targets))

    def gathered(self) -> 'PairTargets':
        """Join the targets of all processes, in the order of the processes."""
        return PairTargets(*(gather_rows(getattr(self, field.name)) for field in fields(self)))

    @cached_property
    def right_videos(self) -> Tensor:
        """Tell which videos are right for which queries; see :func:`right_video_matrix`."""
        return right_video_matrix(self.sources, self.right_sources, self.source_counts)

    def right_clips(self, num_clips: int) -> Tensor:
        """Tell which of L clips of each pair's video are in a right moment, (B, L) bool."""
        return right_clip_mask(self.right_spans, self.span_counts, num_clips)


def right_video_matrix(sources: Tensor, right_sources: Tensor, counts: Tensor) -> Tensor:
    """Tell for which queries of a batch the videos of the batch are right.

    Args:
        sources: (B,) int64, recording of each pair's video, which is right for the pair's query.
        right_sources: (N,) int64, recordings that are right, query after query.
        counts: (B,) int64, how many of them each query has; their sum is N.

    Returns:
        (B, B) bool, true where the video of pair j is right for the query of pair i.
    """
    size = len(sources)
    values = sources.sort().values
    # Equal recordings share a column; the last column is for those of no video in the batch.
    column = torch.searchsorted(values, sources)
    found = torch.searchsorted(values, right_sources).clamp(max=size - 1)
    found = torch.where(values[found] == right_sources, found, size)
    right = torch.zeros(size, size + 1, dtype=torch.bool, device=sources.device)
    right[_owners(counts, len(right_sources)), found] = True
    right[torch.arange(size, device=sources.device), column] = True
    return right[:, column]


def right_clip_mask(right_spans: Tensor, counts: Tensor, num_clips: int) -> Tensor:
    """Tell which clips of the video of each pair are in one of its right moments.

    Args:
        right_spans: (M, 2) int64, first and last clip of right moments, pair after pair.
        counts: (B,) int64, how many of them each pair has; their sum is M.
        num_clips: L.

    Returns:
        (B, L) bool.
    """
    position = torch.arange(num_clips, device=counts.device)
    inside = (position >= right_spans[:, :1]) & (position <= right_spans[:, 1:])
    covered = torch.zeros(len(counts), num_clips, dtype=torch.int64, device=counts.device)
    return covered.index_add_(0, _owners(counts, len(right_spans)), inside.long()) > 0


def _owners(counts: Tensor, total: int) -> Tensor:
    """(total,) int64, which pair each of its entries is of."""
    numbers = torch.arange(len(counts), device=counts.device)
    return numbers.repeat_interleave(counts, output_size=total)


def _source(sample: MomentDataSample) -> int:
    return sample.get('source_id', sample.get('video_id'))


def _right_sources(sample: MomentDataSample) -> NDArray[np.int64]:
    if 'gt' not in sample:
        return np.array([_source(sample)])
    ids = np.asarray(sample.gt.get('source_ids', sample.gt.get('video_ids')))
    # A moment of relevance 0 is not right.
    return ids[np.asarray(sample.gt.relevance) > 0] if 'relevance' in sample.gt else ids


def _moment(sample: MomentDataSample) -> np.ndarray:
    if 'gt_moment' in sample:
        return sample.gt_moment
    return sample.gt_span + np.array([0.0, 1.0])
