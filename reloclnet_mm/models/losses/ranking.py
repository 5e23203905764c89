"""The ranking loss with sampled negatives (Zhang et al., SIGIR 2021)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS
from reloclnet_mm.utils.checks import check_choice, check_count, check_number


def sample_negatives(scores: Tensor, excluded: Tensor, pool_size: int | None) -> Tensor:
    """Draw one negative column for each row, uniformly from the best scored.

    Args:
        scores: (B, C).
        excluded: (B, C) bool, true where a column is no negative of the row.
        pool_size: Draw from that many best negatives only; None: from all.

    Returns:
        (B,) int64. Of no meaning where all columns of a row are excluded.
    """
    order = scores.detach().masked_fill(excluded, float('-inf')).argsort(1, descending=True)
    available = (~excluded).sum(1)
    pool = available if pool_size is None else available.clamp(max=pool_size)
    draw = torch.rand(len(scores), device=scores.device)
    rank = (draw * pool).long().clamp(max=scores.shape[1] - 1)
    return order.gather(1, rank[:, None]).squeeze(1)


@MODELS.register_module()
class RankingLoss(nn.Module):
    """Ask each query's own video to score higher than a sampled other one, and the reverse.

    Args:
        kind: ``hinge``: max(0, margin + s_neg − s_pos); ``lse``: log(1 + exp(s_neg − s_pos)).
        margin: Margin of the hinge, not negative.
        pool_size: Draw negatives from that many best scored ones only; None: from all. A
            schedule sets it through :class:`~reloclnet_mm.engine.hooks.HardNegativeHook`.
        other_positives: What the videos of other pairs count as that are right for a query:
            ``negative``, as in the original, or ``ignored``. Each pair is asked to score high by
            its own term.
        query_weight: Weight of the loss over videos for each query, not negative.
        video_weight: Weight of the loss over queries for each video, not negative.
    """

    def __init__(
        self,
        kind: Literal['hinge', 'lse'] = 'hinge',
        margin: float = 0.1,
        pool_size: int | None = None,
        other_positives: Literal['negative', 'ignored'] = 'negative',
        query_weight: float = 1.0,
        video_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_choice('RankingLoss: kind', kind, ('hinge', 'lse'))
        check_number('RankingLoss: margin', margin, low=0)
        check_choice('RankingLoss: other_positives', other_positives, ('negative', 'ignored'))
        if pool_size is not None:
            check_count('RankingLoss: pool_size', pool_size)
        check_number('RankingLoss: query_weight', query_weight, low=0)
        check_number('RankingLoss: video_weight', video_weight, low=0)
        self.kind = kind
        self.margin = margin
        self.pool_size = pool_size
        self.other_positives = other_positives
        self.query_weight = query_weight
        self.video_weight = video_weight

    def forward(self, scores: Tensor, right_videos: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the weighted losses of both directions.

        Args:
            scores: (B, B), score of query i and the video of pair j.
            right_videos: (B, B) bool, true where the video of pair j is right for query i.

        Returns:
            Two scalars: over the queries, over the videos; 0 where there are no negatives.
        """
        excluded = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        if self.other_positives == 'ignored':
            excluded = excluded | right_videos
        return (
            self.query_weight * self._one_way(scores, excluded),
            self.video_weight * self._one_way(scores.T, excluded.T),
        )

    def _one_way(self, scores: Tensor, excluded: Tensor) -> Tensor:
        column = sample_negatives(scores, excluded, self.pool_size)
        negative = scores.gather(1, column[:, None]).squeeze(1)
        difference = negative - scores.diagonal()
        if self.kind == 'hinge':
            loss = (self.margin + difference).clamp(min=0)
        else:
            loss = F.softplus(difference)
        return loss.masked_fill(excluded.all(1), 0).mean()
