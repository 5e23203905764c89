"""Transforms, in the order in which a pipeline applies them."""

from reloclnet_mm.datasets.transforms.formatting import PackMomentInputs
from reloclnet_mm.datasets.transforms.loading import (
    CountClips,
    LoadClipFeatures,
    LoadQueryFeatures,
    LoadRowTimes,
)
from reloclnet_mm.datasets.transforms.processing import (
    AppendTEF,
    MomentToSpan,
    NormalizeFeatures,
    PoolClips,
)

__all__ = [
    'AppendTEF',
    'CountClips',
    'LoadClipFeatures',
    'LoadQueryFeatures',
    'LoadRowTimes',
    'MomentToSpan',
    'NormalizeFeatures',
    'PackMomentInputs',
    'PoolClips',
]
