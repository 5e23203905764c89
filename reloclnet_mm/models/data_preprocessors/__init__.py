"""From loaded samples to packed batches on the device of the model."""

from reloclnet_mm.models.data_preprocessors.packing import MomentDataPreprocessor
from reloclnet_mm.models.data_preprocessors.pairs import PairDataPreprocessor
from reloclnet_mm.models.data_preprocessors.resident import ResidentDataPreprocessor

__all__ = ['MomentDataPreprocessor', 'PairDataPreprocessor', 'ResidentDataPreprocessor']
