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
    BatchSoftmaxLoss,
    FrameContrastiveLoss,
    RankingLoss,
    SpanLoss,
    SpanMapLoss,
    VideoChoiceLoss,
    VideoContrastiveLoss,
)
from reloclnet_mm.models.nearest import NearestClip, NearestSentence
from reloclnet_mm.models.pair_encoders import JointStreamEncoder, TokenEncoder
from reloclnet_mm.models.pair_heads import PairMomentHead, PairVideoHead
from reloclnet_mm.models.relocl_plus import ReLoCLNetPlus
from reloclnet_mm.models.reloclnet import ReLoCLNet
from reloclnet_mm.models.residual_encoders import ResidualContextEncoder, ResidualQueryEncoder
from reloclnet_mm.models.second_stage import SecondStage
from reloclnet_mm.models.span_heads import MergedSpanHead, StreamSpanHead
from reloclnet_mm.models.span_maps import SpanMapHead
from reloclnet_mm.models.two_stage import TwoStageRetriever
from reloclnet_mm.models.xml import XML

__all__ = [
    'CONQUER',
    'XML',
    'BatchSoftmaxLoss',
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
    'ReLoCLNetPlus',
    'ResidentDataPreprocessor',
    'ResidualContextEncoder',
    'ResidualQueryEncoder',
    'SecondStage',
    'SpanLoss',
    'SpanMapHead',
    'SpanMapLoss',
    'StreamSpanHead',
    'TokenEncoder',
    'TwoStageRetriever',
    'VideoChoiceLoss',
    'VideoContrastiveLoss',
]
