"""The layers that models are made of (Zhang et al., SIGIR 2021; Hou et al., ACM MM 2021)."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reloclnet_mm.models.dropout import Dropout, drop
from reloclnet_mm.structures.packed_rows import RowLayout

Padding = Literal['independent', 'official']
"""How computation treats padded clips.

``independent``: nothing of a padded clip reaches a valid one, so results do not
depend on padding or on what else is in the batch. ``official``: as the authors'
program, for comparison with it: additive masks of −10,000, and padded clips
leak into the span logits of the last valid ones.
"""

_OFFICIAL_MASK = -10000.0


AttentionMasks = tuple[Tensor | None, ...]
"""What is added to the scores of attention in each block of a layout: broadcasts to (count, rows,
rows); None: nothing."""


def self_attention_masks(layout: RowLayout, padding: Padding) -> AttentionMasks:
    """The masks of attention within one sequence.

    Args:
        layout: Of the rows.
        padding: See :data:`Padding`.
    """
    value = -math.inf if padding == 'independent' else _OFFICIAL_MASK
    return tuple(
        None if valid is None else _where_not(valid[:, None, :], value) for valid in layout.masks
    )


def cross_attention_masks(layout: RowLayout, padding: Padding) -> AttentionMasks:
    """The masks of attention from one stream of a video to the other.

    The authors' program masks wherever the attending or the attended clip is
    invalid, so that an invalid clip attends to all clips alike.

    Args:
        layout: Of the rows, which the streams share.
        padding: See :data:`Padding`.
    """
    if padding == 'independent':
        return self_attention_masks(layout, padding)
    return tuple(
        None if valid is None else _where_not(valid[:, :, None] & valid[:, None, :], _OFFICIAL_MASK)
        for valid in layout.masks
    )


def _where_not(valid: Tensor, value: float) -> Tensor:
    return torch.zeros(valid.shape, device=valid.device).masked_fill_(~valid, value)


class InputProjection(nn.Module):
    """LayerNorm over the input, dropout, Linear to the model's width, ReLU.

    Args:
        in_channels: Width of the features.
        embed_dims: Width of the model.
        dropout: Probability.
    """

    def __init__(self, in_channels: int, embed_dims: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels)
        # LayerNorm's gradient does not need its output.
        self.dropout = Dropout(dropout, inplace=True)
        self.linear = nn.Linear(in_channels, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_channels) to (…, embed_dims)."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return F.relu(self.linear(self.dropout(self.norm(x))))


class PositionEmbedding(nn.Module):
    """Adds a learned position, then LayerNorm and dropout.

    Args:
        max_len: Positions in the table.
        embed_dims: Width of the model.
        dropout: Probability.
    """

    def __init__(self, max_len: int, embed_dims: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(max_len, embed_dims)
        self.norm = nn.LayerNorm(embed_dims)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, layout: RowLayout) -> Tensor:
        """(R, d) to (R, d).

        Raises:
            ValueError: A sequence is longer than the table.
        """
        length = max(block.num_rows for block in layout.blocks)
        max_len = self.embedding.num_embeddings
        if length > max_len:
            raise ValueError(
                f'a sequence of {length} rows meets a position table of {max_len}; lower '
                'max_clips or max_tokens of the data set, or enlarge that of the encoder'
            )
        return self.dropout(self.norm(x + self.embedding.weight.to(x.dtype)[layout.positions]))


class TypedPositionEmbedding(PositionEmbedding):
    """Adds a learned vector for the kind of a row to its position, as BERT does.

    Args:
        max_len: Positions in the table.
        embed_dims: Width of the model.
        dropout: Probability.
    """

    NUM_TYPES = 2

    def __init__(self, max_len: int, embed_dims: int, dropout: float) -> None:
        super().__init__(max_len, embed_dims, dropout)
        self.types = nn.Embedding(self.NUM_TYPES, embed_dims)

    def forward(self, x: Tensor, layout: RowLayout, kind: int) -> Tensor:
        """(R, d), all rows of one kind, to (R, d).

        Raises:
            ValueError: A sequence is longer than the table.
        """
        return super().forward(x + self.types.weight[kind].to(x.dtype), layout)


class MultiHeadAttention(nn.Module):
    """Multi-head attention without an output projection.

    Args:
        embed_dims: Width of the model, a multiple of ``num_heads``.
        num_heads: Heads.
        dropout: Probability, on the attention weights.
    """

    def __init__(self, embed_dims: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims {embed_dims} is not a multiple of num_heads {num_heads}')
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(embed_dims, embed_dims)
        self.key = nn.Linear(embed_dims, embed_dims)
        self.value = nn.Linear(embed_dims, embed_dims)

    def forward(
        self, x: Tensor, context: Tensor, layout: RowLayout, masks: AttentionMasks
    ) -> Tensor:
        """Rows of ``x`` attend to rows of ``context``, within a sequence.

        Args:
            x: (R, d).
            context: (R, d).
            layout: Of both.
            masks: See :data:`AttentionMasks`.

        Returns:
            (R, d).
        """
        if context is x:
            blocks = layout.split(_project(x, self.query, self.key, self.value))
            parts = [block.chunk(3, 2) for block in blocks]
        else:
            queries = layout.split(self.query(x))
            others = layout.split(_project(context, self.key, self.value))
            parts = [(q, *kv.chunk(2, 2)) for q, kv in zip(queries, others, strict=True)]
        dropout = self.dropout if self.training else 0.0
        return layout.join(
            [
                attend(*part, mask, self.num_heads, dropout)
                for part, mask in zip(parts, masks, strict=True)
            ]
        )


def _project(x: Tensor, *linears: nn.Linear) -> Tensor:
    """Several linear maps of the same rows in one product, side by side."""
    weight = torch.cat([linear.weight for linear in linears])
    return F.linear(x, weight, torch.cat([linear.bias for linear in linears]))


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, num_heads: int, dropout: float
) -> Tensor:
    """Multi-head scaled dot-product attention.

    Args:
        q: (B, L, d).
        k: (B, L, d).
        v: (B, L, d).
        mask: Is added to the scores; broadcasts to (B, L, L). None: nothing.
        num_heads: Heads.
        dropout: Probability, on the attention weights.

    Returns:
        (B, L, d).
    """
    q, k, v = (x.unflatten(2, (num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    if mask is not None:
        mask = mask.to(q.dtype)[:, None]
    if dropout == 0 or q.is_cuda:
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    else:
        # torch's own would draw each random number at several times the cost. Copies, for where
        # a view would do for the products, the gradient would hold on to all that was projected.
        q, k, v = (x.contiguous() for x in (q, k, v))
        with torch.autocast(q.device.type, enabled=False):
            y = drop(_attention_weights(q, k, mask), dropout) @ v
    return y.transpose(1, 2).flatten(2)


def _attention_weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """(B, heads, L, L)."""
    scale = q.shape[3] ** -0.5
    a, b = q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)
    if mask is None:
        scores = (a * scale) @ b
    else:
        added = mask.expand(-1, q.shape[1], -1, -1).flatten(0, 1)
        scores = torch.baddbmm(added, a, b, alpha=scale)
    return scores.softmax(2).view(*q.shape[:3], k.shape[2])


class AttentionBlock(nn.Module):
    """Self-attention, Linear, dropout, residual, LayerNorm; no feed-forward part.

    Args:
        embed_dims: Width of the model.
        num_heads: Heads.
        dropout: Probability.
    """

    def __init__(self, embed_dims: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(embed_dims, num_heads, dropout)
        self.output = nn.Linear(embed_dims, embed_dims)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, x: Tensor, layout: RowLayout, masks: AttentionMasks) -> Tensor:
        """(R, d) to (R, d); arguments as of :class:`MultiHeadAttention`."""
        attended = self.output(self.attention(x, x, layout, masks))
        return self.norm(self.dropout(attended, x))


class TransformerLayer(nn.Module):
    """BERT's layer: an attention block, then a feed-forward part with residual and LayerNorm.

    Args:
        embed_dims: Width of the model.
        num_heads: Heads.
        feedforward_dims: Width inside the feed-forward part.
        dropout: Probability.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, feedforward_dims: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention = AttentionBlock(embed_dims, num_heads, dropout)
        self.hidden = nn.Linear(embed_dims, feedforward_dims)
        self.output = nn.Linear(feedforward_dims, embed_dims)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, x: Tensor, layout: RowLayout, masks: AttentionMasks) -> Tensor:
        """(R, d) to (R, d); arguments as of :class:`MultiHeadAttention`."""
        x = self.attention(x, layout, masks)
        return self.norm(self.dropout(self.output(F.gelu(self.hidden(x))), x))


class ProjectedLayer(nn.Module):
    """An input projection and a BERT layer (Hou et al., 2021).

    Args:
        in_channels: Width of the rows.
        embed_dims: Width of the model.
        num_heads: Heads.
        feedforward_dims: Width inside the feed-forward part.
        dropout: Probability.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        num_heads: int,
        feedforward_dims: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.projection = InputProjection(in_channels, embed_dims, dropout)
        self.layer = TransformerLayer(embed_dims, num_heads, feedforward_dims, dropout)

    def forward(self, x: Tensor, layout: RowLayout, masks: AttentionMasks) -> Tensor:
        """(R, in_channels) to (R, d); arguments as of :class:`MultiHeadAttention`."""
        return self.layer(self.projection(x), layout, masks)


class PreNormLayer(nn.Module):
    """A convolution over neighbouring rows, self-attention and a feed-forward part.

    Each is added to what it reads, behind a LayerNorm, so that rows can stay nearly as they are.

    Args:
        embed_dims: Width of the model.
        num_heads: Heads.
        dropout: Probability.
        kernel_size: Rows that the convolution sees, odd; 0: no convolution.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, dropout: float, kernel_size: int = 0
    ) -> None:
        super().__init__()
        self.convolution = None
        if kernel_size:
            if kernel_size % 2 == 0:
                raise ValueError(
                    f'PreNormLayer: kernel_size is {kernel_size}, expected it odd or 0'
                )
            self.convolution_norm = nn.LayerNorm(embed_dims)
            self.convolution = nn.Conv1d(
                embed_dims, embed_dims, kernel_size, padding=kernel_size // 2, groups=embed_dims
            )
        self.attention_norm = nn.LayerNorm(embed_dims)
        self.attention = MultiHeadAttention(embed_dims, num_heads, dropout)
        self.attention_output = nn.Linear(embed_dims, embed_dims)
        self.norm = nn.LayerNorm(embed_dims)
        self.hidden = nn.Linear(embed_dims, 2 * embed_dims)
        self.output = nn.Linear(2 * embed_dims, embed_dims)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, layout: RowLayout, masks: AttentionMasks) -> Tensor:
        """(R, d) to (R, d); arguments as of :class:`MultiHeadAttention`."""
        if self.convolution is not None:
            x = self.dropout(self._convolve(self.convolution_norm(x), layout), x)
        y = self.attention_norm(x)
        x = self.dropout(self.attention_output(self.attention(y, y, layout, masks)), x)
        return self.dropout(self.output(F.gelu(self.hidden(self.norm(x)))), x)

    def _convolve(self, x: Tensor, layout: RowLayout) -> Tensor:
        convolved = []
        for block, mask in zip(layout.split(x), layout.masks, strict=True):
            if mask is not None:
                block = block.masked_fill(~mask[..., None], 0)
            convolved.append(self.convolution(block.transpose(1, 2)).transpose(1, 2))
        return layout.join(convolved)
