"""An encoded corpus, made ready for queries once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from reloclnet_mm.retrieval.similarity import convolution_matrix
from reloclnet_mm.structures import VideoCorpus

CoarseDtype = Literal['auto', 'float32', 'bfloat16']
"""In which precision videos are scored to find candidates.

Candidates are scored again in float32, so the lists are the same. ``float32`` scores all videos
once; ``auto`` is bfloat16 on a CPU that multiplies in it, and float32 elsewhere.
"""

_INT8_LEVELS = 127


@dataclass(frozen=True)
class CoarseClips:
    """Unit clip vectors of one stream in few bits.

    Attributes:
        values: (R, d), bfloat16, or int8 in steps of ``scales``.
        scales: (R,) bfloat16 for int8, None otherwise.
        error: The largest distance of a row from the unit vector that it stands for.
    """

    values: Tensor
    scales: Tensor | None
    error: float


class CorpusIndex:
    """What all queries of a corpus need, computed once.

    Args:
        corpus: The encoded videos.
        kernels: (2, 1, kernel size), the span predictor's convolutions for starts and ends.
        coarse_dtype: See :data:`CoarseDtype`.
    """

    def __init__(
        self, corpus: VideoCorpus, kernels: Tensor, coarse_dtype: CoarseDtype = 'auto'
    ) -> None:
        if coarse_dtype == 'auto':
            coarse_dtype = 'bfloat16' if multiplies_bfloat16(corpus.features.device) else 'float32'
        self.corpus = corpus
        self.coarse_dtype = coarse_dtype
        self.streams = {name: corpus.stream(name) for name in corpus.streams}
        longest = max(block.num_rows for block in corpus.layout.blocks)
        self._convolutions = convolution_matrix(kernels, longest).view(longest, -1, longest)
        self.inverse_norms = {name: inverse_norm(x) for name, x in self.streams.items()}

    def __len__(self) -> int:
        return len(self.corpus)

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return self.corpus.features.device

    def convolutions(self, length: int) -> Tensor:
        """The kernels as a matrix for a length."""
        return self._convolutions[:length, :, :length].flatten(1)

    def prepare(self) -> None:
        """Compute now what the first batch of queries and the first single query would have to."""
        if self.coarse_dtype == 'bfloat16':
            _ = self.bfloat16_clips, self.int8_clips
        _ = self.clips_of_videos, self.stream_clips_of_videos, self.videos_of_rows

    @cached_property
    def bfloat16_clips(self) -> dict[str, CoarseClips]:
        """Stream name to its clips in bfloat16."""
        return {name: to_bfloat16(x, self.inverse_norms[name]) for name, x in self.streams.items()}

    @cached_property
    def int8_clips(self) -> dict[str, CoarseClips]:
        """Stream name to its clips in int8."""
        return {name: to_int8(x, self.inverse_norms[name]) for name, x in self.streams.items()}

    @cached_property
    def clips_of_videos(self) -> tuple[Tensor, ...]:
        """Of each video its rows (rows, S·d), views."""
        return self._by_video(self.corpus.features)

    @cached_property
    def stream_clips_of_videos(self) -> dict[str, tuple[Tensor, ...]]:
        """Stream name to, of each video, its rows (rows, d), views."""
        return {name: self._by_video(x) for name, x in self.streams.items()}

    def _by_video(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split(self.corpus.layout.rows_of_each.tolist())

    @cached_property
    def videos_of_rows(self) -> Tensor:
        """(R,) int64, the video that each row belongs to."""
        videos = torch.arange(len(self), device=self.device)
        return videos.repeat_interleave(self.corpus.layout.rows_of_each)

    @cached_property
    def first_rows(self) -> np.ndarray:
        """(N,) int64, the row at which each video begins."""
        return self.corpus.layout.first_rows.cpu().numpy()

    @cached_property
    def padding_rows(self) -> Tensor | None:
        """(R,) bool, true where a row is no valid clip; None where all are."""
        layout = self.corpus.layout
        padding = layout.positions >= layout.lengths[self.videos_of_rows]
        return padding if padding.any() else None


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a CPU has instructions for products of bfloat16; false for other devices."""
    if device.type != 'cpu':
        return False
    return torch.cpu.get_capabilities().get('avx512_bf16', False)


def inverse_norm(x: Tensor) -> Tensor:
    """(R,), what makes unit vectors of the rows of (R, d), as ``torch.nn.functional.normalize``."""
    return torch.linalg.vector_norm(x, dim=1).clamp(min=1e-12).reciprocal()


def to_bfloat16(x: Tensor, inverse_norms: Tensor) -> CoarseClips:
    """Unit vectors of the rows of (R, d) in bfloat16."""
    values = torch.empty(x.shape, dtype=torch.bfloat16, device=x.device)
    error = 0.0
    for rows, part, scale in _parts(values, x, inverse_norms):
        unit = part * scale[:, None]
        rows.copy_(unit)
        error = max(error, _largest_distance(rows.float(), unit))
    return CoarseClips(values, None, error)


def to_int8(x: Tensor, inverse_norms: Tensor) -> CoarseClips:
    """Unit vectors of the rows of (R, d) in int8, each row in steps of its own."""
    values = torch.empty(x.shape, dtype=torch.int8, device=x.device)
    scales = torch.empty(len(x), dtype=torch.bfloat16, device=x.device)
    error = 0.0
    for rows, part, scale, steps in _parts(values, x, inverse_norms, scales):
        unit = part * scale[:, None]
        steps.copy_(unit.abs().amax(1).clamp(min=1e-30) / _INT8_LEVELS)
        step = steps.float()[:, None]
        # bfloat16 may have rounded a step down.
        rows.copy_((unit / step).round().clamp(-_INT8_LEVELS, _INT8_LEVELS))
        error = max(error, _largest_distance(rows * step, unit))
    return CoarseClips(values, scales, error)


def _parts(*tensors: Tensor, rows: int = 8192) -> zip:
    """Some rows of each at a time, which keeps what is computed on the way small."""
    return zip(*(x.split(rows) for x in tensors), strict=True)


def _largest_distance(a: Tensor, b: Tensor) -> float:
    return float(torch.linalg.vector_norm(a - b, dim=1).max())
