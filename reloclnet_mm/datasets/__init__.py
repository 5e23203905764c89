"""Data sets of queries and of videos, and their transforms."""

from reloclnet_mm.datasets.activitynet_captions import (
    ActivityNetCaptionsCorpusDataset,
    ActivityNetCaptionsDataset,
)
from reloclnet_mm.datasets.samplers import SeededSampler
from reloclnet_mm.datasets.tvr import TVRCorpusDataset, TVRDataset

__all__ = [
    'ActivityNetCaptionsCorpusDataset',
    'ActivityNetCaptionsDataset',
    'SeededSampler',
    'TVRCorpusDataset',
    'TVRDataset',
]
