"""The layers that the encoders are made of (Zhang et al., SIGIR 2021)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Padding = Literal['independent', 'official']
"""How computation treats padded clips.

``independent``: nothing of a padded clip reaches a valid one, so results do not
depend on padding or on what else is in the batch. ``official``: as the authors'
program, for comparison with it: additive masks of −10,000, and padded clips
leak into the span logits of the last valid ones.
"""

_OFFICIAL_MASK = -10000.0


def self_attention_mask(mask: Tensor, padding: Padding) -> Tensor:
    """The mask of attention within one sequence, for scaled_dot_product_attention.

    Args:
        mask: (B, L) bool, true where valid.
        padding: See :data:`Padding`.

    Returns:
        (B, 1, 1, L), bool or additive float.
    """
    if padding == 'independent':
        return mask[:, None, None, :]
    return (~mask[:, None, None, :]).float() * _OFFICIAL_MASK


def cross_attention_mask(mask: Tensor, padding: Padding) -> Tensor:
    """The mask of attention from one stream of a video to the other.

    The authors' program masks wherever the attending or the attended clip is
    invalid, so that an invalid clip attends to all clips alike.

    Args:
        mask: (B, L) bool, true where valid; the streams share their clips.
        padding: See :data:`Padding`.

    Returns:
        (B, 1, 1, L) bool or (B, 1, L, L) additive float.
    """
    if padding == 'independent':
        return self_attention_mask(mask, padding)
    both_valid = mask[:, None, :, None] & mask[:, None, None, :]
    return (~both_valid).float() * _OFFICIAL_MASK


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
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(in_channels, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_channels) to (…, embed_dims)."""
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
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, d) to (B, L, d).

        Raises:
            ValueError: A sequence is longer than the table.
        """
        length, max_len = x.shape[1], self.embedding.num_embeddings
        if length > max_len:
            raise ValueError(
                f'a sequence of {length} rows meets a position table of {max_len}; pool or '
                'truncate it in the pipeline (PoolClips, LoadQueryFeatures), or enlarge the '
                "model's max_clips or max_query_tokens"
            )
        return self.dropout(self.norm(x + self.embedding.weight[:length]))


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

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Rows of ``x`` attend to rows of ``context``.

        Args:
            x: (B, Lx, d).
            context: (B, Lc, d).
            mask: Broadcasts to (B, heads, Lx, Lc); bool (true: attend) or additive float.

        Returns:
            (B, Lx, d).
        """
        attended = F.scaled_dot_product_attention(
            self._heads(self.query(x)),
            self._heads(self.key(context)),
            self._heads(self.value(context)),
            attn_mask=mask if mask.dtype == torch.bool else mask.to(x.dtype),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return attended.transpose(1, 2).flatten(2)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, L, d) to (B, heads, L, d / heads)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


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
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, d) to (B, L, d); ``mask`` as for :class:`MultiHeadAttention`."""
        return self.norm(self.dropout(self.output(self.attention(x, x, mask))) + x)
