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
    (Radford et al., 2021). Every video counts once. A video that is right for a query of another
    pair is no negative of it.

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

    def forward(self, scores: Tensor, right: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the two weighted losses, mean over queries and mean over videos.

        Args:
            scores: (B, N), of B queries and the N videos of the batch.
            right: (B, N) bool, true where a video is right for a query.
            places: (B,) int64, each query's own video.
        """
        own = F.one_hot(places, scores.shape[1]).bool()
        logits = (self.log_scale.exp() * scores).masked_fill(right & ~own, float('-inf'))
        by_query = F.cross_entropy(logits, places)
        # Several queries of a video share its probability: it is asked for any of them.
        chosen = logits.masked_fill(~own, float('-inf')).logsumexp(0)
        by_video = logits.logsumexp(0) - chosen
        asked = own.any(0)
        return self.query_weight * by_query, self.video_weight * by_video[asked].mean()
