"""Loops."""

from reloclnet_mm.engine.loops.corpus_loops import CorpusTestLoop, CorpusValLoop
from reloclnet_mm.engine.loops.resumable_loop import ResumableTrainLoop

__all__ = ['CorpusTestLoop', 'CorpusValLoop', 'ResumableTrainLoop']
