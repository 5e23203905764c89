"""The query encoder, the context encoder and the span predictor (Zhang et al., SIGIR 2021)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from reloclnet_mm.models.layers import (
    AttentionBlock,
    InputProjection,
    MultiHeadAttention,
    Padding,
    PositionEmbedding,
    cross_attention_mask,
    self_attention_mask,
)
from reloclnet_mm.models.ranking import span_logits

ContextLevels = dict[str, tuple[Tensor, Tensor, Tensor]]
"""Stream name to the three levels of its encoding, each (B, L, d)."""


class QueryEncoder(nn.Module):
    """Encodes a query's tokens and pools them into one vector a stream.

    Args:
        in_channels: Width of the token features.
        streams: Names of the streams that a vector is made for.
        embed_dims: Width of the model.
        num_heads: Attention heads.
        max_tokens: Positions in the table.
        input_dropout: Probability, on the normalized features.
        dropout: Probability, everywhere else.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        streams: Sequence[str],
        embed_dims: int,
        num_heads: int,
        max_tokens: int,
        input_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.stream_names = tuple(streams)
        self.projection = InputProjection(in_channels, embed_dims, input_dropout)
        self.position = PositionEmbedding(max_tokens, embed_dims, dropout)
        self.blocks = nn.ModuleList(
            AttentionBlock(embed_dims, num_heads, dropout) for _ in range(2)
        )
        self.pooling = nn.Linear(embed_dims, len(self.stream_names), bias=False)

    def forward(self, tokens: Tensor, token_mask: Tensor, padding: Padding) -> dict[str, Tensor]:
        """Pooled query vectors.

        Args:
            tokens: (B, T, in_channels).
            token_mask: (B, T) bool, true where a token is valid.
            padding: See :data:`~reloclnet_mm.models.layers.Padding`.

        Returns:
            Stream name to (B, d).
        """
        mask = self_attention_mask(token_mask, padding)
        x = self.position(self.projection(tokens))
        for block in self.blocks:
            x = block(x, mask)
        scores = self.pooling(x).masked_fill(~token_mask[..., None], float('-inf'))
        pooled = torch.einsum('bts,btd->sbd', scores.softmax(1), x)
        return dict(zip(self.stream_names, pooled.unbind(0), strict=True))


class StreamEncoder(nn.Module):
    """The layers that one stream has for itself.

    Args:
        in_channels: Width of the clip features.
        embed_dims: Width of the model.
        num_heads: Attention heads.
        crosswise: Whether there is another stream to attend to.
        input_dropout: Probability, on the normalized features.
        dropout: Probability, everywhere else.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        embed_dims: int,
        num_heads: int,
        crosswise: bool,
        input_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.projection = InputProjection(in_channels, embed_dims, input_dropout)
        self.blocks = nn.ModuleList(
            AttentionBlock(embed_dims, num_heads, dropout) for _ in range(3)
        )
        if crosswise:
            self.cross_attention = MultiHeadAttention(embed_dims, num_heads, dropout)
            self.cross_norm = nn.LayerNorm(embed_dims)

    def cross(self, x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        """(B, L, d) of this stream attends to (B, L, d) of the other."""
        return self.cross_norm(self.cross_attention(x, other, mask) + x)


class ContextEncoder(nn.Module):
    """Encodes the clips of videos in three levels, with crosswise attention between two streams.

    Args:
        in_channels: Stream name to the width of its clip features; one or two streams.
        embed_dims: Width of the model.
        num_heads: Attention heads.
        max_clips: Positions in the table, which the streams share.
        input_dropout: Probability, on the normalized features.
        dropout: Probability, everywhere else.
    """

    def __init__(
        self,
        *,
        in_channels: Mapping[str, int],
        embed_dims: int,
        num_heads: int,
        max_clips: int,
        input_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        if not 1 <= len(in_channels) <= 2:
            raise ValueError(f'one or two streams are expected, found {sorted(in_channels)}')
        self.position = PositionEmbedding(max_clips, embed_dims, dropout)
        self.streams = nn.ModuleDict(
            {
                name: StreamEncoder(
                    in_channels=channels,
                    embed_dims=embed_dims,
                    num_heads=num_heads,
                    crosswise=len(in_channels) == 2,
                    input_dropout=input_dropout,
                    dropout=dropout,
                )
                for name, channels in in_channels.items()
            }
        )

    def forward(
        self, clips: Mapping[str, Tensor], clip_mask: Tensor, padding: Padding
    ) -> ContextLevels:
        """The three levels of every stream.

        Args:
            clips: Stream name to (B, L, channels).
            clip_mask: (B, L) bool, true where a clip is valid.
            padding: See :data:`~reloclnet_mm.models.layers.Padding`.
        """
        mask = self_attention_mask(clip_mask, padding)
        first = {
            name: stream.blocks[0](self.position(stream.projection(clips[name])), mask)
            for name, stream in self.streams.items()
        }
        crossed = self._cross(first, clip_mask, padding)
        levels = {}
        for name, stream in self.streams.items():
            second = stream.blocks[1](crossed[name], mask)
            levels[name] = (first[name], second, stream.blocks[2](second, mask))
        return levels

    def _cross(
        self, first: dict[str, Tensor], clip_mask: Tensor, padding: Padding
    ) -> dict[str, Tensor]:
        if len(first) == 1:
            return first
        mask = cross_attention_mask(clip_mask, padding)
        a, b = first
        return {
            a: self.streams[a].cross(first[a], first[b], mask),
            b: self.streams[b].cross(first[b], first[a], mask),
        }


class SpanPredictor(nn.Module):
    """Start and end logits from the similarity of a query and a video's clips.

    Args:
        streams: Names of the streams.
        embed_dims: Width of the model.
        kernel_size: Of the convolutions over the similarity, odd.
    """

    def __init__(self, *, streams: Sequence[str], embed_dims: int, kernel_size: int) -> None:
        super().__init__()
        self.query_maps = nn.ModuleDict(
            {name: nn.Linear(embed_dims, embed_dims) for name in streams}
        )
        self.start_conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.end_conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def map_queries(self, queries: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Query vectors (…, d) into the space in which spans are predicted."""
        return {name: linear(queries[name]) for name, linear in self.query_maps.items()}

    def forward(
        self, similarity: Tensor, clip_mask: Tensor, padding: Padding
    ) -> tuple[Tensor, Tensor]:
        """Start and end logits.

        Args:
            similarity: (…, L), p of the paper, mean over streams.
            clip_mask: (…, L) bool, broadcasts against ``similarity``.
            padding: See :data:`~reloclnet_mm.models.layers.Padding`.

        Returns:
            Two of the shape of ``similarity``; the dtype's minimum at invalid clips.
        """
        if padding == 'independent':
            similarity = similarity.masked_fill(~clip_mask, 0)
        return (
            span_logits(similarity, clip_mask, self.start_conv.weight),
            span_logits(similarity, clip_mask, self.end_conv.weight),
        )
