"""Recalls, chance, and submissions."""

from reloclnet_mm.evaluation.metrics import (
    ChanceRecall,
    GroundingRecall,
    MomentRecall,
    TVRSubmission,
    VideoRecall,
)

__all__ = ['ChanceRecall', 'GroundingRecall', 'MomentRecall', 'TVRSubmission', 'VideoRecall']
