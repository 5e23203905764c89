"""Recalls, chance, and submissions."""

from reloclnet_mm.evaluation.grounding import GroundingRecall
from reloclnet_mm.evaluation.metrics import ChanceRecall, MomentRecall, VideoRecall
from reloclnet_mm.evaluation.submission import TVRSubmission

__all__ = ['ChanceRecall', 'GroundingRecall', 'MomentRecall', 'TVRSubmission', 'VideoRecall']
