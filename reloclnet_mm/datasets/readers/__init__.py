"""Readers of annotation, one file a family of layouts."""

from reloclnet_mm.datasets.readers.activitynet_captions import ActivityNetCaptionsReader
from reloclnet_mm.datasets.readers.base import AnnotationReader, Moment, Query, Video
from reloclnet_mm.datasets.readers.tvr import TVRReader

__all__ = [
    'ActivityNetCaptionsReader',
    'AnnotationReader',
    'Moment',
    'Query',
    'TVRReader',
    'Video',
]
