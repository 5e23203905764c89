"""What travels between data sets, models, loops and metrics."""

from dataclasses import dataclass, replace

import torch
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


@dataclass(frozen=True)
class CorpusInfo:
    """A corpus without its features; metrics find it in ``dataset_meta['corpus']``.

    Attributes:
        video_names: The N videos' names.
        video_ids: N numbers by which predictions name a video.
        num_clips: N counts of valid clips.
        seconds_per_clip: N lengths of a row in seconds.
    """

    video_names: tuple[str, ...]
    video_ids: tuple[int, ...]
    num_clips: tuple[int, ...]
    seconds_per_clip: tuple[float, ...]


@dataclass(frozen=True)
class VideoCorpus:
    """The videos that queries are ranked against, encoded.

    Attributes:
        video_names: The N videos' names.
        video_ids: (N,) int64, the number by which predictions name a video.
        seconds_per_clip: (N,) float32, the length of one row in seconds.
        features: Stream name to (N, L, d), encoded clips, padded.
        clip_mask: (N, L) bool, true where a clip is valid.
        order: (N,) int64, the videos' positions in the corpus data set.
    """

    video_names: tuple[str, ...]
    video_ids: Tensor
    seconds_per_clip: Tensor
    features: dict[str, Tensor]
    clip_mask: Tensor
    order: Tensor

    def __len__(self) -> int:
        return len(self.video_names)

    @property
    def num_clips(self) -> Tensor:
        """(N,) int64, valid clips of each video."""
        return self.clip_mask.sum(1)

    def row_of(self, video_id: int) -> int:
        """The row of a video.

        Raises:
            KeyError: The corpus has no video of this id.
        """
        return self._rows[video_id]

    @property
    def _rows(self) -> dict[int, int]:
        rows = self.__dict__.get('_row_table')
        if rows is None:
            rows = {int(v): i for i, v in enumerate(self.video_ids)}
            object.__setattr__(self, '_row_table', rows)
        return rows

    def to(self, device: torch.device | str) -> 'VideoCorpus':
        """The same corpus with its features and masks on another device."""
        return replace(
            self,
            features={name: x.to(device) for name, x in self.features.items()},
            clip_mask=self.clip_mask.to(device),
        )

    def describe(self) -> 'CorpusInfo':
        """What metrics need to know of the corpus."""
        return CorpusInfo(
            self.video_names,
            tuple(self.video_ids.tolist()),
            tuple(self.num_clips.tolist()),
            tuple(self.seconds_per_clip.tolist()),
        )

    @staticmethod
    def merge(parts: list['VideoCorpus']) -> 'VideoCorpus':
        """Join corpora into one, in the order of the data set, each video once.

        Parts may overlap, as they do where a sampler pads its shards.
        """
        order = torch.cat([part.order for part in parts])
        names = [name for part in parts for name in part.video_names]
        _, first = _first_occurrences(order)
        length = max(part.clip_mask.shape[1] for part in parts)

        def join(tensors: list[Tensor]) -> Tensor:
            return torch.cat([_pad_clips(x, length) for x in tensors])[first]

        return VideoCorpus(
            video_names=tuple(names[i] for i in first.tolist()),
            video_ids=torch.cat([part.video_ids for part in parts])[first],
            seconds_per_clip=torch.cat([part.seconds_per_clip for part in parts])[first],
            features={
                name: join([part.features[name] for part in parts]) for name in parts[0].features
            },
            clip_mask=join([part.clip_mask for part in parts]),
            order=order[first],
        )


def _first_occurrences(values: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct values in ascending order, and where each stands first."""
    sorted_values, positions = torch.sort(values, stable=True)
    keep = torch.ones_like(sorted_values, dtype=torch.bool)
    keep[1:] = sorted_values[1:] != sorted_values[:-1]
    return sorted_values[keep], positions[keep]


def _pad_clips(x: Tensor, length: int) -> Tensor:
    """(N, L, …) padded with zeros (false) to (N, length, …)."""
    if x.shape[1] == length:
        return x
    padded = x.new_zeros(x.shape[0], length, *x.shape[2:])
    padded[:, : x.shape[1]] = x
    return padded
