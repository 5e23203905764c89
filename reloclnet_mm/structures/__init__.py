"""What travels between data sets, models, loops and metrics."""

from reloclnet_mm.structures.corpus import CorpusInfo, EncodedCorpus
from reloclnet_mm.structures.packed_rows import Block, PackedRows, RowLayout
from reloclnet_mm.structures.samples import MomentDataSample

__all__ = ['Block', 'CorpusInfo', 'EncodedCorpus', 'MomentDataSample', 'PackedRows', 'RowLayout']
