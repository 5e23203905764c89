"""Models, their losses and the data preprocessor."""

from reloclnet_mm.models.data_preprocessors import (
    MomentDataPreprocessor,
    ResidentDataPreprocessor,
)
from reloclnet_mm.models.losses import (
    FrameContrastiveLoss,
    RankingLoss,
    SpanLoss,
    VideoContrastiveLoss,
)
from reloclnet_mm.models.reloclnet import ReLoCLNet

__all__ = [
    'FrameContrastiveLoss',
    'MomentDataPreprocessor',
    'RankingLoss',
    'ReLoCLNet',
    'ResidentDataPreprocessor',
    'SpanLoss',
    'VideoContrastiveLoss',
]
