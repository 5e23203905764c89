"""FrameCL: contrast of clips within a video (Zhang et al., SIGIR 2021)."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS
from reloclnet_mm.utils.checks import check_choice, check_number


def jensen_shannon_gap(similarity: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Compute the negated Jensen–Shannon estimate of mutual information.

    E⁻ − E⁺ with E⁺ the mean over the foreground of log 2 − softplus(−r) and E⁻ the mean over the
    background of softplus(−r) + r − log 2. A mean over nothing is 0.

    Args:
        similarity: (B, L), r.
        foreground: (B, L) bool, clips of the moment.
        background: (B, L) bool, the other valid clips.

    Returns:
        (B,).
    """
    positive = math.log(2) - F.softplus(-similarity)
    negative = F.softplus(-similarity) + similarity - math.log(2)
    return _masked_mean(negative, background) - _masked_mean(positive, foreground)


def _masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(~mask, 0).sum(1) / mask.sum(1).clamp(min=1)


@MODELS.register_module()
class FrameContrastiveLoss(nn.Module):
    """Contrast the clips of a query's moment with the other clips of the video.

    Args:
        other_positives: What clips of other right moments in the video count as: ``negative``;
            ``ignored``, neither foreground nor background; or ``positive``, foreground too. The
            paper has one moment a query.
        loss_weight: Weight of the loss, not negative.
    """

    def __init__(
        self,
        other_positives: Literal['negative', 'ignored', 'positive'] = 'negative',
        loss_weight: float = 0.03,
    ) -> None:
        super().__init__()
        choices = ('negative', 'ignored', 'positive')
        check_choice('FrameContrastiveLoss: other_positives', other_positives, choices)
        self.other_positives = other_positives
        check_number('FrameContrastiveLoss: loss_weight', loss_weight, low=0)
        self.loss_weight = loss_weight

    def forward(
        self,
        similarity: Mapping[str, Tensor],
        clip_mask: Tensor,
        spans: Tensor,
        right_clips: Tensor | None = None,
    ) -> Tensor:
        """Compute the weighted loss, mean over the batch and over streams.

        Args:
            similarity: Stream name to (B, L), inner products r of each query and the clips of its
                own video at the second level.
            clip_mask: (B, L) bool.
            spans: (B, 2) int64, first and last clip of the moment.
            right_clips: (B, L) bool, clips of all right moments; None: those of ``spans``.
        """
        position = torch.arange(clip_mask.shape[1], device=clip_mask.device)
        inside = (position >= spans[:, :1]) & (position <= spans[:, 1:])
        right = inside if right_clips is None else inside | right_clips
        foreground = right if self.other_positives == 'positive' else inside
        background = clip_mask & ~(inside if self.other_positives == 'negative' else right)
        gaps = [jensen_shannon_gap(r, foreground, background) for r in similarity.values()]
        return self.loss_weight * torch.stack(gaps).mean()
