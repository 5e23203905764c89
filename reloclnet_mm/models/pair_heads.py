"""What a cross-modal second stage reads off a pair of a query and a video (Hou et al., 2021)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reloclnet_mm.models.layers import AttentionMasks, Padding, ProjectedLayer
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import RowLayout


class ClipScorer(nn.Module):
    """Scores each clip by two convolutions over time.

    Args:
        embed_dims: Width of the clips.
        channels: Width between the convolutions.
        kernel_size: Size of the first convolution, odd; that of the second is 1.
        padding: See :data:`~reloclnet_mm.models.layers.Padding`.
    """

    def __init__(self, embed_dims: int, channels: int, kernel_size: int, padding: Padding) -> None:
        super().__init__()
        self.padding = padding
        self.hidden = nn.Conv1d(
            embed_dims, channels, kernel_size, padding=kernel_size // 2, bias=False
        )
        self.output = nn.Conv1d(channels, 1, 1, bias=False)

    def forward(self, x: Tensor, layout: RowLayout) -> Tensor:
        """(R, d) to (R,)."""
        scores = []
        for block, mask in zip(layout.split(x), layout.masks, strict=True):
            if mask is not None and self.padding == 'independent':
                block = block.masked_fill(~mask[..., None], 0)
            hidden = F.relu(self.hidden(block.transpose(1, 2)))
            scores.append(self.output(hidden).squeeze(1))
        return layout.join(scores)


@MODELS.register_module()
class PairMomentHead(nn.Module):
    """Scores each clip as the first and as the last of the moment; the last sees the first.

    Args:
        embed_dims: Width of the model.
        num_heads: Number of attention heads.
        feedforward_dims: Width inside the feed-forward parts.
        channels: Width between the convolutions.
        kernel_size: Size of the first convolution, odd.
        dropout: Dropout probability.
        padding: See :data:`~reloclnet_mm.models.layers.Padding`.
    """

    def __init__(
        self,
        *,
        embed_dims: int,
        num_heads: int,
        feedforward_dims: int,
        channels: int = 128,
        kernel_size: int = 5,
        dropout: float = 0.1,
        padding: Padding = 'independent',
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f'PairMomentHead: kernel_size is {kernel_size!r}, expected an odd number above 0'
            )
        sizes = embed_dims, num_heads, feedforward_dims, dropout
        self.start_layer = ProjectedLayer(5 * embed_dims, *sizes)
        self.end_layer = ProjectedLayer(2 * embed_dims, *sizes)
        self.start_scorer = ClipScorer(embed_dims, channels, kernel_size, padding)
        self.end_scorer = ClipScorer(embed_dims, channels, kernel_size, padding)

    def forward(
        self, features: Tensor, context: Tensor, layout: RowLayout, masks: AttentionMasks
    ) -> tuple[Tensor, Tensor]:
        """Compute start and end logits.

        Args:
            features: (R, 5d), the clips in the light of the query.
            context: (R, d), the last part of these.
            layout: Layout of the R rows.
            masks: Of attention within the layout's sequences.

        Returns:
            Two (R,); of no meaning at rows of padding.
        """
        start = self.start_layer(features, layout, masks)
        end = self.end_layer(torch.cat([context, start], 1), layout, masks)
        return self.start_scorer(start, layout), self.end_scorer(end, layout)


@MODELS.register_module()
class PairVideoHead(nn.Module):
    """Scores a video as a whole by the largest of each feature over its clips.

    Args:
        embed_dims: Width of the model.
        num_heads: Number of attention heads.
        feedforward_dims: Width inside the feed-forward part.
        channels: Width between the linear maps.
        dropout: Dropout probability.
        padding: See :data:`~reloclnet_mm.models.layers.Padding`; with ``official`` rows of padding
            may be the largest.
    """

    def __init__(
        self,
        *,
        embed_dims: int,
        num_heads: int,
        feedforward_dims: int,
        channels: int = 128,
        dropout: float = 0.1,
        padding: Padding = 'independent',
    ) -> None:
        super().__init__()
        self.padding = padding
        sizes = embed_dims, num_heads, feedforward_dims, dropout
        self.layer = ProjectedLayer(5 * embed_dims, *sizes)
        self.hidden = nn.Linear(embed_dims, channels, bias=False)
        self.output = nn.Linear(channels, 1, bias=False)

    def forward(self, features: Tensor, layout: RowLayout, masks: AttentionMasks) -> Tensor:
        """Compute a score for each video; arguments as of :class:`PairMomentHead`.

        Returns:
            (P,).
        """
        counted = layout
        if self.padding == 'official':
            counted = RowLayout(layout.rows_of_each, layout.blocks)
        largest = counted.largest(self.layer(features, layout, masks))
        return self.output(F.relu(self.hidden(largest))).squeeze(1)
