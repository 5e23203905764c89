"""Where feature files live: h5 files and packed stores."""

from pathlib import Path

from reloclnet_mm.features.h5 import FeatureFile
from reloclnet_mm.features.packed import PackedFeatures
from reloclnet_mm.features.reading import FeatureReader, recorded_clip_length

__all__ = [
    'FeatureFile',
    'FeatureReader',
    'PackedFeatures',
    'open_features',
    'recorded_clip_length',
]


def open_features(path: str | Path, channels: int | None = None) -> FeatureReader:
    """Return the reader for a path: a folder is a packed store, everything else an h5 file.

    Args:
        path: The h5 file or the folder of the store.
        channels: Width that the rows must have; None: any.
    """
    return (PackedFeatures if Path(path).is_dir() else FeatureFile)(path, channels)
