"""Metrics of ranked lists, what chance would reach, and submissions."""

from reloclnet_mm.evaluation.metrics import (
    ChanceRecall,
    GroundingRecall,
    MomentRecall,
    TVRSubmission,
    VideoRecall,
)

__all__ = ['ChanceRecall', 'GroundingRecall', 'MomentRecall', 'TVRSubmission', 'VideoRecall']
