"""What a cross-modal second stage encodes of queries and videos apart (Hou et al., ACM MM 2021)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from reloclnet_mm.models.layers import (
    InputProjection,
    Padding,
    TransformerLayer,
    TypedPositionEmbedding,
    self_attention_masks,
)
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import RowLayout

_QUERY = 1  # the kind of a query's rows, which is that of a second stream too


@MODELS.register_module()
class TokenEncoder(nn.Module):
    """Encodes the tokens of a query by a BERT layer, and keeps them apart.

    Args:
        in_channels: Width of the token features.
        embed_dims: Width of the model.
        num_heads: Number of attention heads.
        feedforward_dims: Width inside the feed-forward part.
        max_tokens: Number of positions in the table.
        input_dropout: Dropout probability on the normalized features.
        dropout: Dropout probability everywhere else.
        padding: See :data:`~reloclnet_mm.models.layers.Padding`.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        embed_dims: int,
        num_heads: int,
        feedforward_dims: int,
        max_tokens: int = 30,
        input_dropout: float = 0.1,
        dropout: float = 0.1,
        padding: Padding = 'independent',
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.max_tokens = max_tokens
        self.padding = padding
        self.projection = InputProjection(in_channels, embed_dims, input_dropout)
        self.position = TypedPositionEmbedding(max_tokens, embed_dims, dropout)
        self.layer = TransformerLayer(embed_dims, num_heads, feedforward_dims, dropout)

    def forward(self, tokens: Tensor, layout: RowLayout) -> Tensor:
        """(R, in_channels) to (R, d).

        Args:
            tokens: Features.
            layout: Layout of the R rows of the queries.
        """
        x = self.position(self.projection(tokens), layout, _QUERY)
        return self.layer(x, layout, self_attention_masks(layout, self.padding))


@MODELS.register_module()
class JointStreamEncoder(nn.Module):
    """Encodes the clips of all streams of a video together, by one BERT layer.

    The rows of the second stream follow those of the first; positions count from 0 in each.

    Args:
        in_channels: Stream name to the width of its clip features; one or two streams.
        embed_dims: Width of the model.
        num_heads: Number of attention heads.
        feedforward_dims: Width inside the feed-forward part.
        max_clips: Number of positions in the table, which the streams share.
        input_dropout: Dropout probability on the normalized features.
        dropout: Dropout probability everywhere else.
        padding: See :data:`~reloclnet_mm.models.layers.Padding`.
    """

    def __init__(
        self,
        *,
        in_channels: Mapping[str, int],
        embed_dims: int,
        num_heads: int,
        feedforward_dims: int,
        max_clips: int = 100,
        input_dropout: float = 0.1,
        dropout: float = 0.1,
        padding: Padding = 'independent',
    ) -> None:
        super().__init__()
        if not 1 <= len(in_channels) <= TypedPositionEmbedding.NUM_TYPES:
            raise ValueError(
                f'JointStreamEncoder: found the streams {sorted(in_channels)}, expected one or two'
            )
        self.in_channels = dict(in_channels)
        self.max_clips = max_clips
        self.padding = padding
        self.projections = nn.ModuleDict(
            {
                name: InputProjection(channels, embed_dims, input_dropout)
                for name, channels in in_channels.items()
            }
        )
        self.position = TypedPositionEmbedding(max_clips, embed_dims, dropout)
        self.layer = TransformerLayer(embed_dims, num_heads, feedforward_dims, dropout)

    def forward(self, clips: Mapping[str, Tensor], layout: RowLayout) -> dict[str, Tensor]:
        """Encode the clips of each stream in sight of those of the other.

        Args:
            clips: Stream name to (R, channels).
            layout: Layout of the R rows.

        Returns:
            Stream name to (R, d).
        """
        embedded = [
            self.position(projection(clips[name]), layout, kind)
            for kind, (name, projection) in enumerate(self.projections.items())
        ]
        masks = self_attention_masks(layout, self.padding)
        count = len(embedded)
        joint_masks = tuple(None if m is None else m.repeat(1, 1, count) for m in masks)
        joint = layout.repeated(count)
        blocks = zip(*(layout.split(x) for x in embedded), strict=True)
        x = self.layer(joint.join([torch.cat(same, 1) for same in blocks]), joint, joint_masks)
        streams = zip(*(block.chunk(count, 1) for block in joint.split(x)), strict=True)
        return dict(zip(self.projections, map(layout.join, streams), strict=True))
