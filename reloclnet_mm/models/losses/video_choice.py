"""The loss of video scores of a second stage (Hou et al., ACM MM 2021)."""

import torch.nn.functional as F
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS
from reloclnet_mm.utils.checks import check_number


@MODELS.register_module()
class VideoChoiceLoss(nn.Module):
    """Ask a query's own video to score higher than the others that come with it.

    Args:
        loss_weight: Weight of the loss, not negative.
    """

    def __init__(self, loss_weight: float = 0.05) -> None:
        super().__init__()
        check_number('VideoChoiceLoss: loss_weight', loss_weight, low=0)
        self.loss_weight = loss_weight

    def forward(self, video_scores: Tensor) -> Tensor:
        """Compute the weighted cross-entropy, mean over the batch.

        Args:
            video_scores: (B, V), the query's own video first.
        """
        return -self.loss_weight * F.log_softmax(video_scores, 1)[:, 0].mean()
