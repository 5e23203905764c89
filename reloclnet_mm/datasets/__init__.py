"""Data sets of queries and of videos, and their transforms."""

from reloclnet_mm.datasets.base import CorpusDataset, QueryDataset
from reloclnet_mm.datasets.collate import join_rows
from reloclnet_mm.datasets.reranking import RerankingDataset
from reloclnet_mm.datasets.samplers import SeededSampler

__all__ = ['CorpusDataset', 'QueryDataset', 'RerankingDataset', 'SeededSampler', 'join_rows']
