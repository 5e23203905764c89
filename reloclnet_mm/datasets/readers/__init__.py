"""Readers of annotation, one file a family of layouts."""

from reloclnet_mm.datasets.readers.activitynet_captions import ActivityNetCaptionsReader
from reloclnet_mm.datasets.readers.base import AnnotationReader, Moment, Query, Video
from reloclnet_mm.datasets.readers.charades_sta import CharadesSTAReader
from reloclnet_mm.datasets.readers.didemo import DiDeMoReader
from reloclnet_mm.datasets.readers.qvhighlights import QVHighlightsReader
from reloclnet_mm.datasets.readers.tvr import TVRReader
from reloclnet_mm.datasets.readers.tvr_ranking import TVRRankingReader

__all__ = [
    'ActivityNetCaptionsReader',
    'AnnotationReader',
    'CharadesSTAReader',
    'DiDeMoReader',
    'Moment',
    'QVHighlightsReader',
    'Query',
    'TVRRankingReader',
    'TVRReader',
    'Video',
]
