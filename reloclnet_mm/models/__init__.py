"""Models, what they are made of, their losses and the data preprocessors."""

from reloclnet_mm.models.base import CorpusRetriever
from reloclnet_mm.models.chance import Chance
from reloclnet_mm.models.conquer import CONQUER
from reloclnet_mm.models.corpus_model import CorpusModel
from reloclnet_mm.models.data_preprocessors import (
    MomentDataPreprocessor,
    PairDataPreprocessor,
    ResidentDataPreprocessor,
)
from reloclnet_mm.models.encoders import ContextEncoder, QueryEncoder
from reloclnet_mm.models.losses import (
    FrameContrastiveLoss,
    RankingLoss,
    SpanLoss,
    VideoChoiceLoss,
    VideoContrastiveLoss,
)
from reloclnet_mm.models.nearest import NearestClip, NearestSentence
from reloclnet_mm.models.pair_encoders import JointStreamEncoder, TokenEncoder
from reloclnet_mm.models.pair_heads import PairMomentHead, PairVideoHead
from reloclnet_mm.models.reloclnet import ReLoCLNet
from reloclnet_mm.models.second_stage import SecondStage
from reloclnet_mm.models.span_heads import MergedSpanHead, StreamSpanHead
from reloclnet_mm.models.two_stage import TwoStageRetriever
from reloclnet_mm.models.xml import XML

__all__ = [
    'CONQUER',
    'XML',
    'Chance',
    'ContextEncoder',
    'CorpusModel',
    'CorpusRetriever',
    'FrameContrastiveLoss',
    'JointStreamEncoder',
    'MergedSpanHead',
    'MomentDataPreprocessor',
    'NearestClip',
    'NearestSentence',
    'PairDataPreprocessor',
    'PairMomentHead',
    'PairVideoHead',
    'QueryEncoder',
    'RankingLoss',
    'ReLoCLNet',
    'ResidentDataPreprocessor',
    'SecondStage',
    'SpanLoss',
    'StreamSpanHead',
    'TokenEncoder',
    'TwoStageRetriever',
    'VideoChoiceLoss',
    'VideoContrastiveLoss',
]
