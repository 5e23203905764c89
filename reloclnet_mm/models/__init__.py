"""Models, what they are made of, their losses and the data preprocessors."""

from reloclnet_mm.models.base import CorpusRetriever
from reloclnet_mm.models.chance import Chance
from reloclnet_mm.models.corpus_model import CorpusModel
from reloclnet_mm.models.data_preprocessors import (
    MomentDataPreprocessor,
    ResidentDataPreprocessor,
)
from reloclnet_mm.models.encoders import ContextEncoder, QueryEncoder
from reloclnet_mm.models.losses import (
    FrameContrastiveLoss,
    RankingLoss,
    SpanLoss,
    VideoContrastiveLoss,
)
from reloclnet_mm.models.nearest import NearestClip, NearestSentence
from reloclnet_mm.models.reloclnet import ReLoCLNet
from reloclnet_mm.models.span_heads import MergedSpanHead, StreamSpanHead
from reloclnet_mm.models.xml import XML

__all__ = [
    'XML',
    'Chance',
    'ContextEncoder',
    'CorpusModel',
    'CorpusRetriever',
    'FrameContrastiveLoss',
    'MergedSpanHead',
    'MomentDataPreprocessor',
    'NearestClip',
    'NearestSentence',
    'QueryEncoder',
    'RankingLoss',
    'ReLoCLNet',
    'ResidentDataPreprocessor',
    'SpanLoss',
    'StreamSpanHead',
    'VideoContrastiveLoss',
]
