"""Cross-entropy over the videos and the queries of a batch."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reloclnet_mm.registry import MODELS
from reloclnet_mm.utils.checks import check_number


@MODELS.register_module()
class BatchSoftmaxLoss(nn.Module):
    """Ask a query to choose its video among all of the batch, and a video its queries.

    The InfoNCE loss (van den Oord et al., 2018) in both directions with a learned temperature
    (Radford et al., 2021). Several videos of one recording count as one. A video that is right for
    a query of another pair is no negative of it.

    Args:
        scale: First value of the factor of the scores, the inverse of the temperature.
        query_weight: Weight of the loss over videos for each query, not negative.
        video_weight: Weight of the loss over queries for each video, not negative.
    """

    def __init__(
        self, scale: float = 20.0, query_weight: float = 0.5, video_weight: float = 0.5
    ) -> None:
        super().__init__()
        check_number('BatchSoftmaxLoss: scale', scale, above=0)
        check_number('BatchSoftmaxLoss: query_weight', query_weight, low=0)
        check_number('BatchSoftmaxLoss: video_weight', video_weight, low=0)
        self.query_weight = query_weight
        self.video_weight = video_weight
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, scores: Tensor, right: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the two weighted losses, each a mean over the pairs.

        Args:
            scores: (B, B), of the query of pair i and the video of pair j.
            right: (B, B) bool, true where the video is right for the query.
            sources: (B,) int64, recording of each pair's video.
        """
        own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        logits = (self.log_scale.exp() * scores).masked_fill(right & ~own, float('-inf'))
        # What several pairs share counts once among the others.
        times = (sources[:, None] == sources).sum(1).to(logits.dtype)
        others = torch.where(own, logits, logits - times.log())
        pairs = torch.arange(len(scores), device=scores.device)
        by_query = F.cross_entropy(others, pairs)
        by_video = F.cross_entropy(logits.T, pairs)
        return self.query_weight * by_query, self.video_weight * by_video
