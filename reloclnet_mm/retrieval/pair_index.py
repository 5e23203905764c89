"""Encoded clips of a corpus, ready to be compared with the words of queries.

Letters of shapes: Q queries, V videos asked for each, L clips, T tokens, S streams, d width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object, all_reduce
from torch import Tensor

from reloclnet_mm.retrieval.pair_scores import EncodedWords, PairScorer, PairScores, score_places
from reloclnet_mm.retrieval.sharding import Shard
from reloclnet_mm.structures import EncodedCorpus

# What is computed of so many pairs together stays small beside the corpus.
_PAIRS_AT_ONCE = {'cpu': 64, 'cuda': 1024}


@dataclass(frozen=True)
class PairIndex(Shard):
    """The clips of this process's videos; where others have others, queries travel to all."""

    @staticmethod
    def build(encoded: EncodedCorpus, *, sharded: bool = False) -> 'PairIndex':
        """Make encoded videos ready for queries; arguments as of :meth:`Shard.of`."""
        return PairIndex(**vars(Shard.of(encoded, sharded=sharded)))

    @torch.no_grad()
    def score(self, scorer: PairScorer, words: EncodedWords, places: Tensor) -> PairScores:
        """Score some videos for each query.

        Args:
            scorer: Scores pairs.
            words: Q queries of this process.
            places: (Q, V) int64, places in ``corpus``; −1: none.

        Returns:
            Scores (Q, V, L) and (Q, V); the minimum of float32 where no video is asked for.
        """
        everyone, mine = self._gather_words(words)
        asked, _ = self.gather_queries(places.to(self.device))
        own = self.own or self.corpus
        found = score_places(
            scorer,
            everyone,
            own.rows['interaction'],
            own.layout,
            self.places_here[asked],
            num_clips=max(block.num_rows for block in self.corpus.layout.blocks),
            pairs_at_once=_PAIRS_AT_ONCE[self.device.type],
        )
        if self.is_sharded:
            # One process has scored a pair, the others have the least number for it.
            found.map(lambda x: all_reduce(x, 'max'))
        return found.map(lambda x: x[mine])

    def _gather_words(self, words: EncodedWords) -> tuple[EncodedWords, slice]:
        """Join the queries of all processes, and tell where those of this one are."""
        if not self.is_sharded:
            return words, slice(None)
        _, length, width = words.tokens.shape
        longest = max(all_gather_object(length))
        tokens = F.pad(words.tokens, (0, 0, 0, longest - length)).flatten(1)
        mask = F.pad(words.mask, (0, longest - length)).to(tokens)
        joined, mine = self.gather_queries(torch.cat([tokens, mask, words.stream_weights], 1))
        sizes = [longest * width, longest, words.stream_weights.shape[1]]
        tokens, mask, weights = joined.split(sizes, 1)
        return EncodedWords(tokens.unflatten(1, (longest, width)), mask > 0, weights), mine
