"""Metrics in the form that mmengine evaluates."""

from reloclnet_mm.evaluation.metrics.chance import ChanceRecall
from reloclnet_mm.evaluation.metrics.grounding import GroundingRecall
from reloclnet_mm.evaluation.metrics.ranking import RankingNDCG
from reloclnet_mm.evaluation.metrics.recall import MomentRecall, VideoRecall
from reloclnet_mm.evaluation.metrics.submission import TVRSubmission
from reloclnet_mm.evaluation.metrics.video_lists import VideoListCollector
from reloclnet_mm.evaluation.metrics.windows import QVHighlightsMetric

__all__ = [
    'ChanceRecall',
    'GroundingRecall',
    'MomentRecall',
    'QVHighlightsMetric',
    'RankingNDCG',
    'TVRSubmission',
    'VideoListCollector',
    'VideoRecall',
]
