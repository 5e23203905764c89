"""VideoCL: contrast of videos within a batch (Zhang et al., SIGIR 2021)."""

import torch
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS
from reloclnet_mm.utils.checks import check_number


def noise_contrastive_loss(scores: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Compute the mean over i of logsumexp(row i and column i) − x_ii; x_ii counts twice.

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
    """Contrast queries with the videos of a batch by noise-contrastive estimation.

    Args:
        mask_same_video: Whether other queries of a query's own video are left out of its
            negatives. The original counts them.
        loss_weight: Weight of the loss, not negative.
    """

    def __init__(self, mask_same_video: bool = False, loss_weight: float = 0.03) -> None:
        super().__init__()
        self.mask_same_video = mask_same_video
        check_number('VideoContrastiveLoss: loss_weight', loss_weight, low=0)
        self.loss_weight = loss_weight

    def forward(self, scores: Tensor, same_video: Tensor) -> Tensor:
        """Compute the weighted loss.

        Args:
            scores: (B, B), x: of query i and the video of query j the largest inner product with a
                clip at the second level, mean over streams.
            same_video: (B, B) bool, true where two queries have the same video.
        """
        ignored = None
        if self.mask_same_video:
            ignored = same_video & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        return self.loss_weight * noise_contrastive_loss(scores, ignored)
