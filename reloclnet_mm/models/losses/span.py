"""The loss of moment localization (Zhang et al., SIGIR 2021)."""

import torch.nn.functional as F
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS
from reloclnet_mm.utils.checks import check_number


@MODELS.register_module()
class SpanLoss(nn.Module):
    """Add the cross-entropies of the start clip and of the end clip.

    Args:
        loss_weight: Weight of the loss, not negative.
    """

    def __init__(self, loss_weight: float = 0.01) -> None:
        super().__init__()
        check_number('SpanLoss: loss_weight', loss_weight, low=0)
        self.loss_weight = loss_weight

    def forward(self, start_logits: Tensor, end_logits: Tensor, spans: Tensor) -> Tensor:
        """Compute the weighted loss, mean over the batch.

        Args:
            start_logits: (B, L).
            end_logits: (B, L).
            spans: (B, 2) int64, first and last clip.
        """
        start, end = spans.unbind(1)
        loss = F.cross_entropy(start_logits, start) + F.cross_entropy(end_logits, end)
        return self.loss_weight * loss
