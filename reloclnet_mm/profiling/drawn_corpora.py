"""Corpora of any size that lie as real encodings do.

A drawn video is an encoded one that was moved. With x its clips, c the mean of all videos, and h
from 0 to 0.9, drawn anew for each video, its clips are c + √(1 − h²) (x − c) + h (u + v). The
vector u is one for each video and normal with the covariance of the means of videos; v is one for
each run of clips that are nearly equal, with that of a run's distance from the mean of its video.
So lengths, runs, the relation of streams and all second moments stay what they are, and as a corpus
grows, nearest neighbours come closer, as they do in real ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from reloclnet_mm.structures import EncodedCorpus, RowLayout
from reloclnet_mm.utils.fileio import replace_file

_FARTHEST = 0.9
# Neighbours with a smaller cosine, in any stream, begin a run.
_SAME = 0.999


@dataclass(frozen=True)
class CorpusSource:
    """Encoded videos and queries that corpora are drawn from.

    Attributes:
        clips: (R, S · d) float16, clips of N videos; the streams are beside each other.
        lengths: (N,) int64, clips of each video.
        queries: (Q, d) float32, unit vectors of real queries for these videos.
        num_streams: S.
    """

    clips: Tensor
    lengths: Tensor
    queries: Tensor
    num_streams: int

    def save(self, path: Path) -> None:
        """Write it to a file."""
        tensors = dict(vars(self), num_streams=torch.tensor(self.num_streams))
        with replace_file(path) as temporary:
            save_file({name: tensors[name] for name in _FIELDS}, temporary)

    @staticmethod
    def load(path: Path) -> 'CorpusSource':
        """Read it from a file."""
        found = load_file(path)
        return CorpusSource(**found | dict(num_streams=int(found['num_streams'])))

    @property
    def stream_names(self) -> tuple[str, ...]:
        """Names of the streams."""
        return tuple(f'stream_{number}' for number in range(self.num_streams))

    def queries_of_streams(self, chosen: slice) -> dict[str, Tensor]:
        """Take some queries: of each stream (Q, d)."""
        return dict.fromkeys(self.stream_names, self.queries[chosen])

    def draw(self, num_videos: int, seed: int, *, first_id: int = 0) -> EncodedCorpus:
        """Draw videos.

        Args:
            num_videos: How many.
            seed: Of what is drawn.
            first_id: Id of the first one.

        Returns:
            A corpus with rows in float16, which serve for videos and moments.
        """
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(self.lengths), (num_videos,), generator=generator)
        chosen = chosen[self.lengths[chosen].argsort(stable=True)]
        lengths = self.lengths[chosen]
        rows, owner = self._layout.rows_of(chosen)
        run = self._moves.runs[rows]
        begins = F.pad((run.diff() != 0) | (owner.diff() != 0), (1, 0), value=True)
        far = _FARTHEST * torch.rand(num_videos, generator=generator)
        noise = self._moves.of_videos(num_videos, generator)[owner[begins]]
        noise += self._moves.of_runs(len(noise), generator)
        moved = self.clips[rows].float().sub_(self._moves.centre)
        moved *= (1 - far**2).sqrt()[owner, None]
        moved += (noise * far[owner[begins], None])[begins.cumsum(0) - 1]
        moved += self._moves.centre
        parts = moved.chunk(self.num_streams, 1)
        units = {
            name: F.normalize(part, dim=1).half()
            for name, part in zip(self.stream_names, parts, strict=True)
        }
        return _corpus_of(units, lengths.tolist(), first_id)

    @cached_property
    def _layout(self) -> RowLayout:
        lengths = self.lengths.tolist()
        return RowLayout.stack(lengths, lengths)

    @cached_property
    def _moves(self) -> '_Moves':
        x, count = self.clips.float(), len(self.lengths)
        owner = torch.arange(count).repeat_interleave(self.lengths)
        cosine = torch.stack(
            [(part[1:] * part[:-1]).sum(1) for part in x.chunk(self.num_streams, 1)]
        ).amin(0)
        runs = F.pad(((owner.diff() != 0) | (cosine < _SAME)).cumsum(0), (1, 0))
        means, means_of_runs = _means(x, owner), _means(x, runs)
        video_of_run = torch.zeros(len(means_of_runs), dtype=torch.long).scatter_(0, runs, owner)
        centre = means.mean(0)
        return _Moves(
            centre, runs, _factor(means - centre), _factor(means_of_runs - means[video_of_run])
        )


_FIELDS = ('clips', 'lengths', 'queries', 'num_streams')


@dataclass(frozen=True)
class _Moves:
    """How videos are moved: the centre (D,), the run (R,) of each clip, factors (D, D) of noise."""

    centre: Tensor
    runs: Tensor
    video_factor: Tensor
    run_factor: Tensor

    def of_videos(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, len(self.centre), generator=generator) @ self.video_factor

    def of_runs(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, len(self.centre), generator=generator) @ self.run_factor


def _corpus_of(units: Mapping[str, Tensor], lengths: Sequence[int], first_id: int) -> EncodedCorpus:
    ids = torch.arange(first_id, first_id + len(lengths))
    return EncodedCorpus(
        video_names=tuple(map(str, ids.tolist())),
        video_ids=ids,
        seconds_per_clip=torch.full((len(lengths),), 2.0, dtype=torch.float64),
        positions=ids,
        layout=RowLayout.stack(lengths, lengths),
        rows=dict(retrieval=dict(units), localization=dict(units)),
    )


def _means(x: Tensor, owner: Tensor) -> Tensor:
    count = int(owner[-1]) + 1
    sums = torch.zeros(count, x.shape[1]).index_add_(0, owner, x)
    return sums / owner.bincount(minlength=count)[:, None]


def _factor(x: Tensor) -> Tensor:
    """The symmetric root (D, D) of the second moment of rows x."""
    values, vectors = torch.linalg.eigh(x.double().T @ x.double() / len(x))
    return ((vectors * values.clamp(min=0).sqrt()) @ vectors.T).float()
