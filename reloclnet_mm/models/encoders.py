"""The query encoder, the context encoder and the span predictor (Zhang et al., SIGIR 2021)."""

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
from reloclnet_mm.retrieval.similarity import convolution_matrix, span_logits
from reloclnet_mm.structures.packed_rows import RowLayout

ContextLevels = dict[str, tuple[Tensor, Tensor, Tensor]]
"""Stream name to the three levels of its encoding, each (R, d)."""


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

    def forward(self, tokens: Tensor, layout: RowLayout, padding: Padding) -> dict[str, Tensor]:
        """Pooled query vectors.

        Args:
            tokens: (R, in_channels).
            layout: Of the R rows of N queries.
            padding: See :data:`~reloclnet_mm.models.layers.Padding`.

        Returns:
            Stream name to (N, d).
        """
        masks = self_attention_masks(layout, padding)
        x = self.position(self.projection(tokens), layout)
        for block in self.blocks:
            x = block(x, layout, masks)
        pooled = torch.cat([self._pool(*block) for block in self._blocks(x, layout)], 1)
        return dict(zip(self.stream_names, pooled.unbind(0), strict=True))

    def _blocks(
        self, x: Tensor, layout: RowLayout
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        return zip(layout.split(x), layout.split(self.pooling(x)), layout.masks, strict=True)

    def _pool(self, x: Tensor, scores: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, d) and scores (B, T, streams) to (streams, B, d)."""
        if mask is not None:
            scores = scores.masked_fill(~mask[..., None], float('-inf'))
        return torch.einsum('bts,btd->sbd', scores.softmax(1).to(x.dtype), x)


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

    def cross(self, x: Tensor, other: Tensor, layout: RowLayout, masks: AttentionMasks) -> Tensor:
        """(R, d) of this stream attends to (R, d) of the other."""
        return self.cross_norm(self.cross_attention(x, other, layout, masks) + x)


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
        self, clips: Mapping[str, Tensor], layout: RowLayout, padding: Padding
    ) -> ContextLevels:
        """The three levels of every stream.

        Args:
            clips: Stream name to (R, channels).
            layout: Of the R rows.
            padding: See :data:`~reloclnet_mm.models.layers.Padding`.
        """
        masks = self_attention_masks(layout, padding)
        first = {
            name: stream.blocks[0](
                self.position(stream.projection(clips[name]), layout), layout, masks
            )
            for name, stream in self.streams.items()
        }
        crossed = self._cross(first, layout, padding)
        levels = {}
        for name, stream in self.streams.items():
            second = stream.blocks[1](crossed[name], layout, masks)
            levels[name] = (first[name], second, stream.blocks[2](second, layout, masks))
        return levels

    def _cross(
        self, first: dict[str, Tensor], layout: RowLayout, padding: Padding
    ) -> dict[str, Tensor]:
        if len(first) == 1:
            return first
        masks = cross_attention_masks(layout, padding)
        a, b = first
        return {
            a: self.streams[a].cross(first[a], first[b], layout, masks),
            b: self.streams[b].cross(first[b], first[a], layout, masks),
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

    @property
    def kernels(self) -> Tensor:
        """(2, 1, kernel size), of starts and of ends."""
        return torch.cat([self.start_conv.weight, self.end_conv.weight])

    def map_queries(self, queries: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Query vectors (…, d) into the space in which spans are predicted."""
        return {name: linear(queries[name]) for name, linear in self.query_maps.items()}

    def forward(
        self, similarity: Tensor, clip_mask: Tensor, padding: Padding
    ) -> tuple[Tensor, Tensor]:
        """Start and end logits.

        Args:
            similarity: (B, L), p of the paper, mean over streams.
            clip_mask: (B, L) bool.
            padding: See :data:`~reloclnet_mm.models.layers.Padding`.

        Returns:
            Two (B, L); the dtype's minimum at invalid clips.
        """
        if padding == 'independent':
            similarity = similarity.masked_fill(~clip_mask, 0)
        convolutions = convolution_matrix(self.kernels, similarity.shape[1])
        return span_logits(similarity, clip_mask, convolutions)
