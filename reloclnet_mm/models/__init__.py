"""Models, their losses and the data preprocessor."""

from reloclnet_mm.models.data_preprocessor import MomentDataPreprocessor
from reloclnet_mm.models.losses import (
    FrameContrastiveLoss,
    RankingLoss,
    SpanLoss,
    VideoContrastiveLoss,
)
from reloclnet_mm.models.reloclnet import ReLoCLNet
from reloclnet_mm.models.resident import ResidentDataPreprocessor

__all__ = [
    'FrameContrastiveLoss',
    'MomentDataPreprocessor',
    'RankingLoss',
    'ReLoCLNet',
    'ResidentDataPreprocessor',
    'SpanLoss',
    'VideoContrastiveLoss',
]
