"""The loss of a distribution over spans."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures.span_grid import span_iou
from reloclnet_mm.utils.checks import check_number


@MODELS.register_module()
class SpanMapLoss(nn.Module):
    """Ask for probability on the spans that count as right.

    The loss is −Σ log P(IoU ≥ t) over thresholds t. Where no span of the video reaches a threshold,
    the best ones count.

    Args:
        thresholds: IoUs with the moment from which on a span is right.
        loss_weight: Weight of the loss, not negative.
    """

    def __init__(self, thresholds: Sequence[float] = (0.5, 0.7), loss_weight: float = 1.0) -> None:
        super().__init__()
        for threshold in thresholds:
            check_number('SpanMapLoss: thresholds', threshold, above=0, high=1)
        check_number('SpanMapLoss: loss_weight', loss_weight, low=0)
        self.thresholds = tuple(thresholds)
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, grid: Tensor, moments: Tensor) -> Tensor:
        """Compute the weighted loss, mean over the batch.

        Args:
            logits: (B, S), −∞ where the video has no such span.
            grid: (S, 2) int64, the spans.
            moments: (B, 2), begin and end of the moment in clips.
        """
        scores = logits.log_softmax(1)
        iou = span_iou(moments.to(scores.dtype), grid.to(scores.dtype))
        iou = iou.masked_fill(logits == float('-inf'), -1)
        best = iou.amax(1, keepdim=True)
        losses = [
            scores.masked_fill(iou < best.clamp(max=threshold), float('-inf')).logsumexp(1)
            for threshold in self.thresholds
        ]
        return -self.loss_weight * torch.stack(losses).sum(0).mean()
