"""Metrics in the form that mmengine evaluates."""

from reloclnet_mm.evaluation.metrics.chance import ChanceRecall
from reloclnet_mm.evaluation.metrics.grounding import GroundingRecall
from reloclnet_mm.evaluation.metrics.recall import MomentRecall, VideoRecall
from reloclnet_mm.evaluation.metrics.submission import TVRSubmission

__all__ = ['ChanceRecall', 'GroundingRecall', 'MomentRecall', 'TVRSubmission', 'VideoRecall']
