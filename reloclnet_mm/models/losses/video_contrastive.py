"""VideoCL: contrast of videos within a batch (Zhang et al., SIGIR 2021)."""

import torch
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS


def noise_contrastive_loss(scores: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Mean over i of logsumexp(row i and column i together) − x_ii; x_ii counts twice.

    Args:
        scores: (B, B), x.
        ignored: (B, B) bool, symmetric: pairs that are neither positive nor negative.

    Returns:
        A scalar.
    """
    rivals = scores if ignored is None else scores.masked_fill(ignored, float('-inf'))
    both = torch.cat([rivals, rivals.T], 1)
    return (both.logsumexp(1) - scores.diagonal()).mean()


@MODELS.register_module()
class VideoContrastiveLoss(nn.Module):
    """Noise-contrastive estimation between queries and the videos of a batch.

    Args:
        mask_same_video: Whether other queries of a query's own video are left out of its
            negatives. The original counts them.
        loss_weight: Weight.
    """

    def __init__(self, mask_same_video: bool = False, loss_weight: float = 0.03) -> None:
        super().__init__()
        self.mask_same_video = mask_same_video
        self.loss_weight = loss_weight

    def forward(self, scores: Tensor, same_video: Tensor) -> Tensor:
        """The weighted loss.

        Args:
            scores: (B, B), x: of query i and the video of query j the largest inner product with a
                clip at the second level, mean over streams.
            same_video: (B, B) bool, true where two queries have the same video.
        """
        ignored = None
        if self.mask_same_video:
            ignored = same_video & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        return self.loss_weight * noise_contrastive_loss(scores, ignored)
