"""VideoCL: contrast of videos within a batch (Zhang et al., SIGIR 2021)."""

from typing import Literal

import torch
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS
from reloclnet_mm.utils.checks import check_choice, check_number


def noise_contrastive_loss(
    scores: Tensor, ignored: Tensor | None = None, positives: Tensor | None = None
) -> Tensor:
    """Compute the mean over i of logsumexp(row i and column i) − x_ii; x_ii counts twice.

    With several positives the last term is the mean over those in row i and in column i, as in
    supervised contrastive learning (Khosla et al., NeurIPS 2020, equation 2). So each of them has
    to score high, as a ranking of all right videos asks; the logarithm of their summed
    probabilities (MIL-NCE; Miech et al., CVPR 2020) would be content with one.

    Args:
        scores: (B, B), x.
        ignored: (B, B) bool: pairs that are neither positive nor negative.
        positives: (B, B) bool, true on the diagonal; None: the diagonal alone.

    Returns:
        A scalar.
    """
    rivals = scores if ignored is None else scores.masked_fill(ignored, float('-inf'))
    both = torch.cat([rivals, rivals.T], 1)
    if positives is None:
        wanted = scores.diagonal()
    else:
        right = torch.cat([positives, positives.T], 1)
        wanted = both.masked_fill(~right, 0).sum(1) / right.sum(1)
    return (both.logsumexp(1) - wanted).mean()


@MODELS.register_module()
class VideoContrastiveLoss(nn.Module):
    """Contrast queries with the videos of a batch by noise-contrastive estimation.

    Args:
        other_positives: What the videos of other pairs count as that are right for a query:
            ``negative``, as in the original; ``ignored``, neither positive nor negative; or
            ``positive``, see :func:`noise_contrastive_loss`.
        loss_weight: Weight of the loss, not negative.
    """

    def __init__(
        self,
        other_positives: Literal['negative', 'ignored', 'positive'] = 'negative',
        loss_weight: float = 0.03,
    ) -> None:
        super().__init__()
        name = 'VideoContrastiveLoss'
        check_choice(
            f'{name}: other_positives', other_positives, ('negative', 'ignored', 'positive')
        )
        check_number(f'{name}: loss_weight', loss_weight, low=0)
        self.other_positives = other_positives
        self.loss_weight = loss_weight

    def forward(self, scores: Tensor, right_videos: Tensor) -> Tensor:
        """Compute the weighted loss.

        Args:
            scores: (B, B), x: of query i and the video of pair j the largest inner product with a
                clip at the second level, mean over streams.
            right_videos: (B, B) bool, true where the video of pair j is right for query i.
        """
        ignored = positives = None
        if self.other_positives == 'ignored':
            own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
            ignored = right_videos & ~own
        elif self.other_positives == 'positive':
            positives = right_videos
        return self.loss_weight * noise_contrastive_loss(scores, ignored, positives)
