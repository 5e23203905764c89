"""Transforms, in the order in which a pipeline applies them."""

from reloclnet_mm.datasets.transforms.candidates import ForEachVideo
from reloclnet_mm.datasets.transforms.formatting import PackMomentInputs
from reloclnet_mm.datasets.transforms.loading import (
    CountClips,
    LoadClipFeatures,
    LoadQueryFeatures,
)
from reloclnet_mm.datasets.transforms.processing import (
    AppendTEF,
    CountTimedRows,
    MomentToSpan,
    NormalizeFeatures,
    PoolClips,
)

__all__ = [
    'AppendTEF',
    'CountClips',
    'CountTimedRows',
    'ForEachVideo',
    'LoadClipFeatures',
    'LoadQueryFeatures',
    'MomentToSpan',
    'NormalizeFeatures',
    'PackMomentInputs',
    'PoolClips',
]
