"""What travels between data sets, models, loops and metrics."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from reloclnet_mm.structures.packed_rows import RowLayout


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

    Videos stand sorted by length, without padding, each once.

    Attributes:
        video_names: The N videos' names.
        video_ids: (N,) int64, the number by which predictions name a video.
        seconds_per_clip: (N,) float32, the length of one row in seconds.
        order: (N,) int64, the videos' positions in the corpus data set.
        streams: Names of the S streams.
        features: (R, S·d), encoded clips, the streams side by side.
        layout: Of the R rows; a video takes as many as it has clips (where the authors' padding is
            imitated, some more).
    """

    video_names: tuple[str, ...]
    video_ids: Tensor
    seconds_per_clip: Tensor
    order: Tensor
    streams: tuple[str, ...]
    features: Tensor
    layout: RowLayout

    def __len__(self) -> int:
        return len(self.video_names)

    def stream(self, name: str) -> Tensor:
        """(R, d) of one stream, a view."""
        return self.features.chunk(len(self.streams), 1)[self.streams.index(name)]

    def place_of(self, video_id: int) -> int:
        """Where a video stands in the corpus.

        Raises:
            KeyError: The corpus has no video of this id.
        """
        return self._places[video_id]

    @cached_property
    def _places(self) -> dict[int, int]:
        return {video_id: i for i, video_id in enumerate(self.video_ids.tolist())}

    def to(self, device: torch.device | str) -> 'VideoCorpus':
        """The same corpus with its features on another device."""
        return replace(self, features=self.features.to(device), layout=self.layout.to(device))

    def describe(self) -> 'CorpusInfo':
        """What metrics need to know of the corpus."""
        return CorpusInfo(
            self.video_names,
            tuple(self.video_ids.tolist()),
            tuple(self.layout.lengths.tolist()),
            tuple(self.seconds_per_clip.tolist()),
        )

    def without_features(self) -> 'VideoCorpus':
        """The same videos, with features of width 0."""
        # A view would take all features along where it is sent.
        return replace(self, features=self.features.new_empty(len(self.features), 0))

    def select(self, chosen: Sequence[int]) -> 'VideoCorpus':
        """Some of the videos, in the order given, which must be by length.

        Args:
            chosen: Their places.
        """
        return _assemble([self], chosen)

    @staticmethod
    def merge(parts: list['VideoCorpus']) -> 'VideoCorpus':
        """Join corpora into one, sorted by length, each video once.

        Parts may overlap, as they do where a sampler pads its shards. Of videos of equal length
        the one that is first in the data set is first.
        """
        lengths = torch.cat([part.layout.lengths for part in parts]).tolist()
        num_rows = torch.cat([part.layout.rows_of_each for part in parts]).tolist()
        order = torch.cat([part.order for part in parts]).tolist()
        distinct = {position: i for i, position in enumerate(order)}.values()
        return _assemble(parts, sorted(distinct, key=lambda i: (num_rows[i], lengths[i], order[i])))


def _assemble(parts: list[VideoCorpus], chosen: Sequence[int]) -> VideoCorpus:
    """A corpus of some of the videos of several, which are counted through."""
    lengths = torch.cat([part.layout.lengths for part in parts]).tolist()
    num_rows = torch.cat([part.layout.rows_of_each for part in parts]).tolist()
    names = [name for part in parts for name in part.video_names]
    pieces = [
        piece for part in parts for piece in part.features.split(part.layout.rows_of_each.tolist())
    ]
    chosen = list(chosen)
    layout = RowLayout.stack([lengths[i] for i in chosen], [num_rows[i] for i in chosen])
    return VideoCorpus(
        video_names=tuple(names[i] for i in chosen),
        video_ids=torch.cat([part.video_ids for part in parts])[chosen],
        seconds_per_clip=torch.cat([part.seconds_per_clip for part in parts])[chosen],
        order=torch.cat([part.order for part in parts])[chosen],
        streams=parts[0].streams,
        features=torch.cat([pieces[i] for i in chosen]),
        layout=layout.to(parts[0].features.device),
    )
