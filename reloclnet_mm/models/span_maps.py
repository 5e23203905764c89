"""A distribution over the spans of a video, given a query.

Letters of shapes: P pairs of a query and a video, L clips, S spans of a grid, d width.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures.span_grid import valid_spans
from reloclnet_mm.utils.checks import check_count


@MODELS.register_module()
class SpanMapHead(nn.Module):
    """Scores each span of a video: where it begins, where it ends, both together, what is inside.

    The logit of a span (i, j) is

    * the log of the mean probability of its clips, a softmax over the video of their similarity to
      the query times a learned factor,
    * plus the log density of its share of the video, log-normal as that of moments of training,
    * plus s_i + e_j + m_ij + Σ_r a_ir · b_jr, where all are inner products of the clips with
      vectors computed from the query, and m_ij is a mean over the span.

    Products of starts and ends let the end depend on the start, at a cost that is linear in clips
    but for the sum. Untrained, the last part is 0: moments of usual length lie around the clips
    that are most similar to the query.

    Args:
        streams: Names of the streams; sums over streams are means.
        embed_dims: d.
        rank: How many products are summed.
        similarity_scale: First value of the factor of the similarity.
    """

    # Mean and standard deviation of the log of a moment's share of its video.
    length_prior: Tensor

    def __init__(
        self,
        *,
        streams: Sequence[str],
        embed_dims: int,
        rank: int = 8,
        similarity_scale: float = 20.0,
    ) -> None:
        super().__init__()
        check_count('SpanMapHead: rank', rank)
        self.embed_dims = embed_dims
        self.rank = rank
        self.starts = nn.ModuleDict(
            {name: nn.Linear(embed_dims, (rank + 2) * embed_dims) for name in streams}
        )
        self.ends = nn.ModuleDict(
            {name: nn.Linear(embed_dims, (rank + 1) * embed_dims) for name in streams}
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(similarity_scale)))
        self.part_weights = nn.Parameter(torch.ones(2))
        self.register_buffer('length_prior', torch.tensor([math.log(0.25), 1.0]))

    def init_weights(self) -> None:
        """Make what is learned 0, but for one factor of each product."""
        for name, linear in self.starts.items():
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
            single = self.ends[name]
            nn.init.zeros_(single.weight[: self.embed_dims])
            nn.init.zeros_(single.bias[: self.embed_dims])

    def forward(
        self,
        queries: Tensor,
        clips: Mapping[str, Tensor],
        similarity: Tensor,
        lengths: Tensor,
        grid: Tensor,
        min_clips: int,
    ) -> Tensor:
        """Compute the logits of spans.

        Args:
            queries: (P, d), what is to be found.
            clips: Stream name to (P, L, d).
            similarity: (P, L), cosines of query and clips.
            lengths: (P,) int64, valid clips.
            grid: (S, 2) int64, spans within L clips.
            min_clips: See :func:`~reloclnet_mm.structures.span_grid.valid_spans`.

        Returns:
            (P, S), −∞ where the video has no such span.
        """
        mask = torch.arange(similarity.shape[1], device=lengths.device) < lengths[:, None]
        scale = self.embed_dims**-0.5 / len(clips)
        starts = scale * sum(_products(self.starts[k], queries, x) for k, x in clips.items())
        ends = scale * sum(_products(self.ends[k], queries, x) for k, x in clips.items())
        first, last = grid[:, 0], grid[:, 1] - 1
        inside, starts = starts[..., 0], starts[..., 1:]
        relevance = (self.log_scale.exp() * similarity).masked_fill(~mask, float('-inf'))
        size = (grid[:, 1] - grid[:, 0]).to(similarity.dtype)
        # Single scores of the start and of the end stand beside the products as a pair each.
        pairs = starts[..., 1:] @ ends[..., 1:].transpose(1, 2)
        pairs = pairs + starts[..., :1] + ends[..., :1].transpose(1, 2)
        logits = pairs[:, first, last] + _span_sums(inside.masked_fill(~mask, 0), grid) / size
        content = (_span_sums(relevance.softmax(1), grid) / size).clamp(min=1e-6).log()
        logits = logits + self.part_weights[0] * content
        logits = logits + self.part_weights[1] * self._length_density(size, lengths)
        return logits.masked_fill(~valid_spans(grid, lengths, min_clips), float('-inf'))

    def _length_density(self, size: Tensor, lengths: Tensor) -> Tensor:
        """Compute the log density of the shares, but for a constant, (P, S)."""
        share = (size / lengths[:, None]).log()
        mean, deviation = self.length_prior
        return -(((share - mean) / deviation) ** 2) / 2 - share


def _products(linear: nn.Linear, queries: Tensor, clips: Tensor) -> Tensor:
    """Inner products (P, L, k) of clips (P, L, d) with k vectors computed from queries (P, d)."""
    vectors = linear(queries).unflatten(1, (-1, clips.shape[2]))
    return clips @ vectors.transpose(1, 2)


def _span_sums(x: Tensor, grid: Tensor) -> Tensor:
    """Sum (P, L) over the clips of each span, (P, S)."""
    # In float64: the sum over a span may be small beside that over the clips before it.
    total = F.pad(x.cumsum(1, dtype=torch.float64), (1, 0))
    return (total[:, grid[:, 1]] - total[:, grid[:, 0]]).to(x.dtype)
