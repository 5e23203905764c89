"""Start and end logits from the similarity of a query and the clips of a video."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.similarity import convolution_matrix, span_logits


class SpanHead(nn.Module):
    """Maps queries into the space in which spans are predicted; subclasses compute the logits.

    Args:
        streams: Names of the streams.
        embed_dims: Width of the model.
        kernel_size: Size of the convolutions over the similarity, odd.
    """

    def __init__(self, *, streams: Sequence[str], embed_dims: int, kernel_size: int = 5) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f'kernel_size is {kernel_size!r}, expected an odd number above 0')
        self.kernel_size = kernel_size
        self.query_maps = nn.ModuleDict(
            {name: nn.Linear(embed_dims, embed_dims) for name in streams}
        )

    @property
    def reach(self) -> int:
        """How many clips before and behind a clip its logits depend on."""
        return self.kernel_size // 2

    def map_queries(self, queries: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map query vectors (…, d), stream by stream."""
        return {name: linear(queries[name]) for name, linear in self.query_maps.items()}

    def _convolution(self) -> nn.Conv1d:
        return nn.Conv1d(1, 1, self.kernel_size, padding=self.reach, bias=False)


@MODELS.register_module()
class MergedSpanHead(SpanHead):
    """Averages the similarity over streams, then convolves it (ReLoCLNet, Zhang et al., 2021).

    Args:
        streams: Names of the streams.
        embed_dims: Width of the model.
        kernel_size: Size of the convolutions over the similarity, odd.
    """

    def __init__(self, *, streams: Sequence[str], embed_dims: int, kernel_size: int = 5) -> None:
        super().__init__(streams=streams, embed_dims=embed_dims, kernel_size=kernel_size)
        self.start_conv = self._convolution()
        self.end_conv = self._convolution()

    def forward(self, similarity: Mapping[str, Tensor], clip_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Compute start and end logits.

        Args:
            similarity: Stream name to (P, L), inner products of mapped queries and clips. The
                values at invalid clips enter the convolution.
            clip_mask: (P, L) bool, true where a clip is valid.

        Returns:
            Two (P, L); the minimum of the dtype at invalid clips.
        """
        mean = sum(similarity.values()) / len(similarity)
        return _convolve(mean, clip_mask, self.start_conv, self.end_conv)


@MODELS.register_module()
class StreamSpanHead(SpanHead):
    """Convolves the similarity of each stream by itself, then averages (XML, Lei et al., 2020).

    Args:
        streams: Names of the streams.
        embed_dims: Width of the model.
        kernel_size: Size of the convolutions over the similarity, odd.
    """

    def __init__(self, *, streams: Sequence[str], embed_dims: int, kernel_size: int = 5) -> None:
        super().__init__(streams=streams, embed_dims=embed_dims, kernel_size=kernel_size)
        self.start_convs = nn.ModuleDict({name: self._convolution() for name in streams})
        self.end_convs = nn.ModuleDict({name: self._convolution() for name in streams})

    def forward(self, similarity: Mapping[str, Tensor], clip_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Compute start and end logits; see :meth:`MergedSpanHead.forward`."""
        logits = [
            _convolve(x, clip_mask, self.start_convs[name], self.end_convs[name])
            for name, x in similarity.items()
        ]
        # Divided first: twice the least number at invalid clips would be infinite.
        start, end = (sum(x / len(logits) for x in one) for one in zip(*logits, strict=True))
        return start, end


def _convolve(
    similarity: Tensor, clip_mask: Tensor, start: nn.Conv1d, end: nn.Conv1d
) -> tuple[Tensor, Tensor]:
    kernels = torch.cat([start.weight, end.weight])
    matrix = convolution_matrix(kernels, similarity.shape[1])
    return span_logits(similarity, clip_mask, matrix)
