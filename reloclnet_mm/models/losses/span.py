"""The loss of moment localization (Zhang et al., SIGIR 2021)."""

import torch.nn.functional as F
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS


@MODELS.register_module()
class SpanLoss(nn.Module):
    """Cross-entropy of the start clip plus that of the end clip.

    Args:
        loss_weight: Weight.
    """

    def __init__(self, loss_weight: float = 0.01) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, start_logits: Tensor, end_logits: Tensor, spans: Tensor) -> Tensor:
        """The weighted loss, mean over the batch.

        Args:
            start_logits: (B, L).
            end_logits: (B, L).
            spans: (B, 2) int64, first and last clip.
        """
        start, end = spans.unbind(1)
        loss = F.cross_entropy(start_logits, start) + F.cross_entropy(end_logits, end)
        return self.loss_weight * loss
