"""Encoders of queries and of clips (Lei et al., ECCV 2020; Zhang et al., SIGIR 2021)."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from reloclnet_mm.models.layers import (
    AttentionBlock,
    AttentionMasks,
    InputProjection,
    MultiHeadAttention,
    Padding,
    PositionEmbedding,
    cross_attention_masks,
    self_attention_masks,
)
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import RowLayout
from reloclnet_mm.utils.checks import check_count


@MODELS.register_module()
class QueryEncoder(nn.Module):
    """Encodes the tokens of a query and pools them into one vector a stream.

    Args:
        in_channels: Width of the token features.
        streams: Names of the streams; each gets a vector of its own.
        embed_dims: Width of the model.
        num_heads: Number of attention heads.
        num_blocks: Number of attention blocks.
        max_tokens: Number of positions in the table.
        input_dropout: Dropout probability on the normalized features.
        dropout: Dropout probability everywhere else.
        padding: See :data:`~reloclnet_mm.models.layers.Padding`.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        streams: Sequence[str],
        embed_dims: int,
        num_heads: int,
        num_blocks: int = 2,
        max_tokens: int = 30,
        input_dropout: float = 0.1,
        dropout: float = 0.1,
        padding: Padding = 'independent',
    ) -> None:
        super().__init__()
        check_count('QueryEncoder: num_blocks', num_blocks)
        self.in_channels = in_channels
        self.max_tokens = max_tokens
        self.stream_names = tuple(streams)
        self.padding = padding
        self.projection = InputProjection(in_channels, embed_dims, input_dropout)
        self.position = PositionEmbedding(max_tokens, embed_dims, dropout)
        self.blocks = nn.ModuleList(
            AttentionBlock(embed_dims, num_heads, dropout) for _ in range(num_blocks)
        )
        self.pooling = nn.Linear(embed_dims, len(self.stream_names), bias=False)

    def forward(self, tokens: Tensor, layout: RowLayout) -> dict[str, Tensor]:
        """Compute the pooled query vectors.

        Args:
            tokens: (R, in_channels).
            layout: Layout of the R rows of N queries.

        Returns:
            Stream name to (N, d).
        """
        masks = self_attention_masks(layout, self.padding)
        x = self.position(self.projection(tokens), layout)
        for block in self.blocks:
            x = block(x, layout, masks)
        pooled = torch.cat([self._pool(*block) for block in self._blocks_of(x, layout)], 1)
        return dict(zip(self.stream_names, pooled.unbind(0), strict=True))

    def _blocks_of(
        self, x: Tensor, layout: RowLayout
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        return zip(layout.split(x), layout.split(self.pooling(x)), layout.masks, strict=True)

    def _pool(self, x: Tensor, scores: Tensor, mask: Tensor | None) -> Tensor:
        """Pool (B, T, d) by scores (B, T, streams) into (streams, B, d)."""
        if mask is not None:
            scores = scores.masked_fill(~mask[..., None], float('-inf'))
        return torch.einsum('bts,btd->sbd', scores.softmax(1).to(x.dtype), x)


class StreamEncoder(nn.Module):
    """The layers that one stream has for itself.

    Args:
        in_channels: Width of the clip features.
        embed_dims: Width of the model.
        num_heads: Number of attention heads.
        num_blocks: Number of attention blocks.
        crosswise: Whether there is another stream to attend to.
        input_dropout: Dropout probability on the normalized features.
        dropout: Dropout probability everywhere else.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        embed_dims: int,
        num_heads: int,
        num_blocks: int,
        crosswise: bool,
        input_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.projection = InputProjection(in_channels, embed_dims, input_dropout)
        self.blocks = nn.ModuleList(
            AttentionBlock(embed_dims, num_heads, dropout) for _ in range(num_blocks)
        )
        if crosswise:
            self.cross_attention = MultiHeadAttention(embed_dims, num_heads, dropout)
            self.cross_norm = nn.LayerNorm(embed_dims)

    def cross(self, x: Tensor, other: Tensor, layout: RowLayout, masks: AttentionMasks) -> Tensor:
        """Let (R, d) of this stream attend to (R, d) of the other."""
        return self.cross_norm(self.cross_attention(x, other, layout, masks) + x)


@MODELS.register_module()
class ContextEncoder(nn.Module):
    """Encodes clips by attention blocks, with crosswise attention between two streams.

    Two streams attend to each other behind the first block of each.

    Args:
        in_channels: Stream name to the width of its clip features; one or two streams.
        embed_dims: Width of the model.
        num_heads: Number of attention heads.
        num_blocks: Number of attention blocks of a stream.
        crosswise: Whether two streams attend to each other.
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
        num_blocks: int = 3,
        crosswise: bool = True,
        max_clips: int = 128,
        input_dropout: float = 0.1,
        dropout: float = 0.1,
        padding: Padding = 'independent',
    ) -> None:
        super().__init__()
        check_count('ContextEncoder: num_blocks', num_blocks)
        if not 1 <= len(in_channels) <= 2:
            raise ValueError(
                f'ContextEncoder: found the streams {sorted(in_channels)}, expected one or two'
            )
        self.in_channels = dict(in_channels)
        self.max_clips = max_clips
        self.crosswise = crosswise and len(in_channels) == 2
        self.padding = padding
        self.position = PositionEmbedding(max_clips, embed_dims, dropout)
        self.streams = nn.ModuleDict(
            {
                name: StreamEncoder(
                    in_channels=channels,
                    embed_dims=embed_dims,
                    num_heads=num_heads,
                    num_blocks=num_blocks,
                    crosswise=self.crosswise,
                    input_dropout=input_dropout,
                    dropout=dropout,
                )
                for name, channels in in_channels.items()
            }
        )

    def forward(
        self, clips: Mapping[str, Tensor], layout: RowLayout
    ) -> dict[str, tuple[Tensor, ...]]:
        """Compute what each attention block puts out.

        Args:
            clips: Stream name to (R, channels).
            layout: Layout of the R rows.

        Returns:
            Stream name to (R, d) of each block, the first block first.
        """
        masks = self_attention_masks(layout, self.padding)
        outputs = {
            name: [
                stream.blocks[0](
                    self.position(stream.projection(clips[name]), layout), layout, masks
                )
            ]
            for name, stream in self.streams.items()
        }
        x = {name: found[0] for name, found in outputs.items()}
        if self.crosswise:
            x = self._cross(x, layout)
        for name, stream in self.streams.items():
            for block in stream.blocks[1:]:
                x[name] = block(x[name], layout, masks)
                outputs[name].append(x[name])
        return {name: tuple(found) for name, found in outputs.items()}

    def _cross(self, x: dict[str, Tensor], layout: RowLayout) -> dict[str, Tensor]:
        masks = cross_attention_masks(layout, self.padding)
        a, b = x
        return {
            a: self.streams[a].cross(x[a], x[b], layout, masks),
            b: self.streams[b].cross(x[b], x[a], layout, masks),
        }
