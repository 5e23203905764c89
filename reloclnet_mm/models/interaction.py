"""Where the words of a query meet the clips of a video (Hou et al., ACM MM 2021).

Letters of shapes: Q queries, P pairs of a query and a video, L clips, T tokens, S streams, K
clusters, d width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reloclnet_mm.models.dropout import Dropout

# As in the authors' program; finite, so that a clip of padding attends to all tokens alike.
_NO_PAIR = -1e10


class NetVLAD(nn.Module):
    """Pools rows by what remains of them beside cluster centers (Arandjelović et al., CVPR 2016).

    Args:
        embed_dims: Width of the rows.
        num_clusters: Number of clusters.
    """

    def __init__(self, embed_dims: int, num_clusters: int) -> None:
        super().__init__()
        std = embed_dims**-0.5
        self.clusters = nn.Parameter(std * torch.randn(embed_dims, num_clusters))
        self.centers = nn.Parameter(std * torch.randn(1, embed_dims, num_clusters))
        self.norm = nn.LayerNorm(num_clusters)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Pool the rows of each query.

        Args:
            x: (Q, T, d).
            mask: (Q, T) bool, true where a row counts; None: all do.

        Returns:
            (Q, d · K), unit vectors.
        """
        share = self.norm(x @ self.clusters).softmax(2)
        if mask is not None:
            share = share.masked_fill(~mask[..., None], 0)
        residual = x.transpose(1, 2) @ share - share.sum(1, keepdim=True) * self.centers
        return F.normalize(F.normalize(residual, dim=1).flatten(1), dim=1)


class StreamWeights(nn.Module):
    """Weighs the streams of a video by what a query is about.

    Args:
        embed_dims: Width of the model.
        num_streams: Number of streams.
        num_clusters: Number of clusters that the query is pooled by.
        dropout: Probability, on the pooled query.
    """

    def __init__(
        self, embed_dims: int, num_streams: int, num_clusters: int, dropout: float
    ) -> None:
        super().__init__()
        self.pooling = NetVLAD(embed_dims, num_clusters)
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(embed_dims * num_clusters, num_streams, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """(Q, T, d) to weights (Q, S), whose sum is 1; ``mask`` as of :class:`NetVLAD`."""
        return self.linear(self.dropout(self.pooling(tokens, mask))).softmax(1)


class AttentionFlow(nn.Module):
    """Lets clips and tokens attend to each other by one similarity (Seo et al., ICLR 2017).

    Args:
        embed_dims: Width of the model.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.similarity = nn.Linear(3 * embed_dims, 1, bias=False)

    def forward(
        self, clips: Tensor, tokens: Tensor, clip_mask: Tensor | None, token_mask: Tensor
    ) -> Tensor:
        """Compute what each clip has to do with the query.

        Args:
            clips: (P, L, d).
            tokens: (P, T, d).
            clip_mask: (P, L) bool, true where a clip is valid; None: all are.
            token_mask: (P, T) bool, true where a token is valid.

        Returns:
            (P, L, 4d): the clip x, its tokens q̃, x ∘ q̃, and x ∘ the clips that the query looks at.
        """
        similarity = trilinear_similarity(clips, tokens, self.similarity.weight[0])
        valid = token_mask[:, None, :]
        if clip_mask is not None:
            valid = valid & clip_mask[:, :, None]
        similarity = similarity.masked_fill(~valid, _NO_PAIR)
        tokens_of_clip = similarity.softmax(2) @ tokens
        clips_of_query = similarity.amax(2).softmax(1)[:, None] @ clips
        return torch.cat([clips, tokens_of_clip, clips * tokens_of_clip, clips * clips_of_query], 2)


def trilinear_similarity(clips: Tensor, tokens: Tensor, weight: Tensor) -> Tensor:
    """Compute u · [x; q; x ∘ q] of all clips x and tokens q.

    No vector is made for a clip and a token: it is x · (u_x + u_xq ∘ q) + u_q · q, a product of
    matrices.

    Args:
        clips: (P, L, d).
        tokens: (P, T, d).
        weight: u, (3d,): u_x, u_q and u_xq one after another.

    Returns:
        (P, L, T).
    """
    of_clip, of_token, of_both = weight.to(clips.dtype).chunk(3)
    return torch.baddbmm(
        (tokens @ of_token)[:, None], clips, (of_clip + of_both * tokens).transpose(1, 2)
    )
