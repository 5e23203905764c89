"""Moments in videos of a corpus whose rows stay on disk."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from reloclnet_mm.retrieval.moment_search import MomentFinder, RankedMoments, SpanRange
from reloclnet_mm.structures import EncodedCorpus
from reloclnet_mm.structures.parted_corpus import PartedCorpus


class PartedMoments:
    """Finds moments in chosen videos of a parted corpus: reads them, and lets a model search.

    Args:
        corpus: The videos.
        moment_search: Makes the search for moments in videos that are in memory.
        device: Device of the search.
    """

    def __init__(
        self,
        corpus: PartedCorpus,
        moment_search: Callable[[EncodedCorpus], MomentFinder],
        device: torch.device,
    ) -> None:
        self.corpus = corpus
        self.moment_search = moment_search
        self.device = device

    @torch.no_grad()
    def rank(
        self, queries: Mapping[str, Tensor], places: Tensor, weights: Tensor, spans: SpanRange
    ) -> RankedMoments:
        """Rank the moments of some videos of each query together; see :class:`MomentSearch`."""
        wanted = weights >= 0
        if not wanted.any():
            return RankedMoments.none(len(places), spans.num_moments, self.device)
        finder, local, chosen = self._take(places, wanted)
        found = finder.rank(queries, local, weights, spans)
        return replace(found, places=chosen[found.places])

    @torch.no_grad()
    def rank_in_one_video(
        self, queries: Mapping[str, Tensor], places: Tensor, spans: SpanRange
    ) -> RankedMoments:
        """Rank the moments of one video of each query; see :class:`MomentSearch`."""
        finder, local, chosen = self._take(places, torch.ones_like(places, dtype=torch.bool))
        found = finder.rank_in_one_video(queries, local, spans)
        return replace(found, places=chosen[found.places])

    @torch.no_grad()
    def span_probabilities(
        self, queries: Mapping[str, Tensor], places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Compute the probabilities of start and end; see :class:`MomentSearch`."""
        finder, local, _ = self._take(places, torch.ones_like(places, dtype=torch.bool))
        return finder.span_probabilities(queries, local)

    def _take(self, places: Tensor, wanted: Tensor) -> tuple[MomentFinder, Tensor, Tensor]:
        """Read videos.

        Args:
            places: Places of any shape.
            wanted: Of the same shape, which of them are read.

        Returns:
            The search in them, the place there of each of ``places``, 0 where it is not wanted,
            and the places (V,) in the corpus of those that were read.
        """
        distinct = places[wanted].unique().cpu()
        videos, order = self.corpus.take(distinct)
        there = order.argsort().to(self.device)
        at = torch.searchsorted(distinct.to(self.device), places.contiguous())
        local = there[at.clamp(max=len(distinct) - 1)].masked_fill(~wanted, 0)
        finder = self.moment_search(videos.to(self.device))
        return finder, local, distinct[order].to(self.device)
