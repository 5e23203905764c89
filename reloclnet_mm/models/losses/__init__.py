"""The losses, each registered on its own and owning its weight."""

from reloclnet_mm.models.losses.batch_softmax import BatchSoftmaxLoss
from reloclnet_mm.models.losses.frame_contrastive import FrameContrastiveLoss
from reloclnet_mm.models.losses.ranking import RankingLoss
from reloclnet_mm.models.losses.span import SpanLoss
from reloclnet_mm.models.losses.span_map import SpanMapLoss
from reloclnet_mm.models.losses.video_choice import VideoChoiceLoss
from reloclnet_mm.models.losses.video_contrastive import VideoContrastiveLoss

__all__ = [
    'BatchSoftmaxLoss',
    'FrameContrastiveLoss',
    'RankingLoss',
    'SpanLoss',
    'SpanMapLoss',
    'VideoChoiceLoss',
    'VideoContrastiveLoss',
]
