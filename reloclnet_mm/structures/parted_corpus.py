"""A corpus in parts that stay where they are: in files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from reloclnet_mm.structures.corpus import CorpusInfo, EncodedCorpus, SavedRows, map_rows
from reloclnet_mm.structures.packed_rows import RowLayout


@dataclass(frozen=True)
class CorpusPart:
    """A part of a corpus, of which some videos may not count any more.

    Attributes:
        corpus: Videos; their rows are float32 or float16.
        kept: (n,) int64, the places in ``corpus`` of those that count, ascending.
        saved: Where its rows are read from; None: from memory.
    """

    corpus: EncodedCorpus
    kept: Tensor
    saved: SavedRows | None = None

    @staticmethod
    def whole(corpus: EncodedCorpus) -> 'CorpusPart':
        """Make a part of which all videos count."""
        return CorpusPart(corpus, torch.arange(len(corpus)))

    @staticmethod
    def load(folder: str | Path) -> 'CorpusPart':
        """Open a corpus that was saved; its rows stay on disk.

        Args:
            folder: Folder that :meth:`EncodedCorpus.save` wrote.

        Raises:
            InputError: There is no such corpus, or it is damaged.
        """
        corpus = EncodedCorpus.load(folder)
        return CorpusPart(corpus, torch.arange(len(corpus)), SavedRows.open(folder))

    def rows(self, local: Tensor, use: str, stream: str) -> tuple[Tensor, list[int]]:
        """Read the rows of some videos, one video after another.

        Args:
            local: (n,) int64, places in ``corpus``.
            use: What the rows are for.
            stream: Name of the stream.

        Returns:
            (T, d) float32 or float16, and the rows of each video.
        """
        layout = self.corpus.layout
        first, counts = (x[local].tolist() for x in (layout.first_rows, layout.rows_of_each))
        if self.saved is not None:
            key = self.saved.keys[use][stream]
            return self.saved.file.read(key, first, counts), counts
        x = self.corpus.rows[use][stream]
        return torch.cat([x[i : i + n] for i, n in zip(first, counts, strict=True)]), counts


@dataclass(frozen=True)
class PartedCorpus:
    """Encoded videos in parts, each a file; no row is read before it is needed.

    The places of the videos count through the parts.

    Attributes:
        parts: Name of each part to its videos. A video is in one of them.
    """

    parts: Mapping[str, CorpusPart]

    def __len__(self) -> int:
        return len(self.video_ids)

    @property
    def device(self) -> torch.device:
        """Device of what is read: the CPU."""
        return torch.device('cpu')

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams."""
        return self._parts[0].corpus.streams

    @cached_property
    def video_ids(self) -> Tensor:
        """(N,) int64, the numbers by which predictions name a video."""
        return torch.cat([part.corpus.video_ids[part.kept] for part in self.parts.values()])

    @cached_property
    def seconds_per_clip(self) -> Tensor:
        """(N,) float64, the length of one row in seconds."""
        return torch.cat([part.corpus.seconds_per_clip[part.kept] for part in self.parts.values()])

    @cached_property
    def num_clips(self) -> Tensor:
        """(N,) int64, the clips of each video."""
        return torch.cat([part.corpus.layout.lengths[part.kept] for part in self.parts.values()])

    @cached_property
    def video_names(self) -> tuple[str, ...]:
        """The names of the N videos."""
        return tuple(
            part.corpus.video_names[i] for part in self.parts.values() for i in part.kept.tolist()
        )

    def describe(self) -> CorpusInfo:
        """Tell what metrics need to know of the corpus."""
        numbers = (self.video_ids, self.num_clips, self.seconds_per_clip)
        return CorpusInfo(self.video_names, *(tuple(x.tolist()) for x in numbers))

    def without_rows(self) -> EncodedCorpus:
        """Keep the videos and the names of the row sets, with rows of width 0."""
        layout = RowLayout.stack(self.num_clips.tolist(), self._num_rows.tolist())
        empty = torch.zeros(layout.num_rows, 0)
        return EncodedCorpus(
            video_names=self.video_names,
            video_ids=self.video_ids,
            seconds_per_clip=self.seconds_per_clip,
            positions=torch.arange(len(self)),
            layout=layout,
            rows=map_rows(self._parts[0].corpus.rows, lambda x: empty),
        )

    def place_of(self, video_id: int) -> int:
        """Find the place of a video in the corpus.

        Raises:
            KeyError: The corpus has no video of this id.
        """
        place = int(self.places_of(torch.tensor([video_id])))
        if place < 0:
            raise KeyError(video_id)
        return place

    def places_of(self, video_ids: Tensor) -> Tensor:
        """Find the places of videos.

        Args:
            video_ids: Ids of any shape, int64.

        Returns:
            Their places, −1 where the corpus has no such video.
        """
        known, places = self._sorted_ids
        at = torch.searchsorted(known, video_ids).clamp(max=len(known) - 1)
        return torch.where(known[at] == video_ids, places[at], -1)

    def places_in(self, names: Collection[str]) -> Tensor:
        """List the places (n,) int64 of the videos of some parts, ascending."""
        first, found = 0, [torch.zeros(0, dtype=torch.long)]
        for name, part in self.parts.items():
            last = first + len(part.kept)
            if name in names:
                found.append(torch.arange(first, last))
            first = last
        return torch.cat(found)

    def take(self, places: Tensor) -> tuple[EncodedCorpus, Tensor]:
        """Read some videos into memory, in float32, sorted by length.

        Args:
            places: (V,) int64, distinct.

        Returns:
            The videos, and of each its index (V,) int64 into ``places``.
        """
        # By rows, then by clips.
        sizes = torch.stack([self._num_rows, self.num_clips], 1)[places].tolist()
        at = places.new_tensor(sorted(range(len(places)), key=sizes.__getitem__))
        return self.read(places[at]), at

    def read(self, places: Tensor, uses: Collection[str] | None = None) -> EncodedCorpus:
        """Read some videos into memory, in float32 and in the order given.

        Args:
            places: (V,) int64, distinct.
            uses: Which row sets; None: all.
        """
        counts, lengths = self._num_rows[places], self.num_clips[places]
        layout, groups = RowLayout.stack(lengths.tolist(), counts.tolist()), self._by_part(places)
        shapes = self._parts[0].corpus.rows
        shapes = {use: x for use, x in shapes.items() if uses is None or use in uses}
        found = {
            id(x): self._rows(groups, use, name, layout.first_rows, layout.num_rows)
            for use, streams in shapes.items()
            for name, x in streams.items()
        }
        return EncodedCorpus(
            video_names=tuple(self._name_of(place) for place in places.tolist()),
            video_ids=self.video_ids[places],
            seconds_per_clip=self.seconds_per_clip[places],
            positions=places,
            layout=layout,
            rows=map_rows(shapes, lambda x: found[id(x)]),
        )

    def select_ids(self, video_ids: Collection[int]) -> EncodedCorpus:
        """Read the videos of some ids into memory, in the order that they have here.

        Args:
            video_ids: Ids of videos that the corpus has.
        """
        return self.read(self.places_of(torch.tensor(sorted(video_ids))).sort().values)

    def retrieval_rows(self, places: Tensor, stream: str) -> tuple[Tensor, Tensor]:
        """Read the rows by which some videos are scored; see :class:`EncodedCorpus`."""
        counts = self._num_rows[places]
        starts, count = counts.cumsum(0) - counts, int(counts.sum())
        rows = self._rows(self._by_part(places), 'retrieval', stream, starts, count)
        owner = torch.arange(len(places)).repeat_interleave(counts)
        if self._is_padded:
            valid = torch.arange(count) - starts[owner] < self.num_clips[places][owner]
            rows, owner = rows[valid], owner[valid]
        return rows, owner

    @cached_property
    def _parts(self) -> Sequence[CorpusPart]:
        return list(self.parts.values())

    @cached_property
    def _num_rows(self) -> Tensor:
        """(N,) int64, the rows of each video."""
        parts = self.parts.values()
        return torch.cat([part.corpus.layout.rows_of_each[part.kept] for part in parts])

    @cached_property
    def _is_padded(self) -> bool:
        return not torch.equal(self._num_rows, self.num_clips)

    @cached_property
    def _sorted_ids(self) -> tuple[Tensor, Tensor]:
        """(N,) ids, ascending, and the place of each."""
        return self.video_ids.sort()

    @cached_property
    def _locals(self) -> Tensor:
        """(N,) int64, the place of each video in its part."""
        return torch.cat([part.kept for part in self.parts.values()])

    @cached_property
    def _first_places(self) -> Tensor:
        """(P + 1,) int64, the place of the first video of each part, and N."""
        counts = torch.tensor([0, *(len(part.kept) for part in self.parts.values())])
        return counts.cumsum(0)

    def _by_part(self, places: Tensor) -> list['_Group']:
        part = torch.searchsorted(self._first_places, places, right=True) - 1
        found = []
        for number in part.unique().tolist():
            asked = (part == number).nonzero().squeeze(1)
            found.append(_Group(number, self._locals[places[asked]], asked))
        return found

    def _rows(
        self, groups: Sequence['_Group'], use: str, stream: str, starts: Tensor, count: int
    ) -> Tensor:
        """Rows (count, d) float32 of videos, those of each from its ``starts`` on."""
        width = self._parts[0].corpus.rows[use][stream].shape[1]
        rows = torch.empty(count, width)
        for group in groups:
            found, counts = self._parts[group.part].rows(group.local, use, stream)
            targets = starts[group.asked].tolist()
            for start, part in zip(targets, found.split(counts), strict=True):
                rows[start : start + len(part)] = part
        return rows

    def _name_of(self, place: int) -> str:
        part = int(torch.searchsorted(self._first_places, place, right=True)) - 1
        return self._parts[part].corpus.video_names[int(self._locals[place])]


class _Group(NamedTuple):
    """Videos of one part.

    Attributes:
        part: Number of the part.
        local: (n,) int64, places in it.
        asked: (n,) int64, the index of each among those that were asked for.
    """

    part: int
    local: Tensor
    asked: Tensor
