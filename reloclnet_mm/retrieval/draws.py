"""Ranked lists drawn at random."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from reloclnet_mm.evaluation.chance import candidate_spans
from reloclnet_mm.retrieval.moment_search import RankedMoments
from reloclnet_mm.retrieval.results import RankedLists, RankingOptions
from reloclnet_mm.structures import EncodedCorpus


def draw_lists(
    query_ids: Sequence[int | str],
    own_videos: Tensor,
    corpus: EncodedCorpus,
    options: RankingOptions,
    seed: int,
) -> RankedLists:
    """Draw videos, moments of the corpus and moments of each query's own video, none twice.

    Lists depend on the seed, the id of their query and the corpus alone. Score r of K is
    1 − r / K, so that it falls with the rank.

    Args:
        query_ids: Q ids.
        own_videos: (Q,) int64, the place of each query's own video, −1 where it is not known.
        corpus: The videos; moments are drawn from all spans of
            :func:`~reloclnet_mm.evaluation.chance.candidate_spans`.
        options: How many, and which spans.
        seed: Seed, 0 or more.
    """
    spans = _Candidates(corpus.layout.lengths.cpu().numpy(), options)
    generators = [_generator(seed, query_id) for query_id in query_ids]
    videos = np.stack([_draw(x, len(corpus), options.num_videos) for x in generators])
    count = options.spans.num_moments
    moments, own = [], []
    if 'VCMR' in options.tasks:
        moments = [spans.draw(x, count) for x in generators]
    if 'SVMR' in options.tasks:
        own = [
            spans.draw(x, count, place)
            for x, place in zip(generators, own_videos.tolist(), strict=True)
            if place >= 0
        ]
    return RankedLists(
        _falling_scores(len(videos), videos.shape[1]),
        torch.from_numpy(videos),
        _lists(moments, count) if moments else None,
        _lists(own, count) if own else None,
    )


class _Candidates:
    """All spans of a corpus, counted through video by video."""

    def __init__(self, lengths: NDArray, options: RankingOptions) -> None:
        distinct, self.kinds = np.unique(lengths, return_inverse=True)
        limits = options.min_span, options.max_span, options.span_end
        tables = [candidate_spans(length, *limits) for length in distinct.tolist()]
        sizes = np.array([len(table) for table in tables])
        self.spans, self.first_of_kind = np.concatenate(tables), sizes.cumsum() - sizes
        self.sizes = sizes[self.kinds]
        self.ends = self.sizes.cumsum()

    def draw(
        self, generator: Generator, count: int, place: int | None = None
    ) -> tuple[NDArray, NDArray]:
        """Draw places (K,) and spans (K, 2), from all videos or from that at one place."""
        if place is None:
            drawn = _draw(generator, int(self.ends[-1]), count)
            places = np.searchsorted(self.ends, drawn, side='right')
            drawn -= (self.ends - self.sizes)[places]
        else:
            drawn = _draw(generator, int(self.sizes[place]), count)
            places = np.full(len(drawn), place)
        return places, self.spans[self.first_of_kind[self.kinds[places]] + drawn]


def _generator(seed: int, query_id: int | str) -> Generator:
    digest = hashlib.sha256(str(query_id).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], 'big')])


def _draw(generator: Generator, total: int, count: int) -> NDArray:
    return generator.choice(total, min(count, total), replace=False)


def _falling_scores(num_lists: int, count: int) -> Tensor:
    return (1 - torch.arange(count) / count).expand(num_lists, -1).clone()


def _lists(found: Sequence[tuple[NDArray, NDArray]], count: int) -> RankedMoments:
    lists = RankedMoments.none(len(found), count, torch.device('cpu'))
    for i, (places, spans) in enumerate(found):
        size = len(places)
        lists.scores[i, :size] = _falling_scores(1, size)[0]
        lists.places[i, :size] = torch.from_numpy(places)
        lists.spans[i, :size] = torch.from_numpy(spans)
    return lists
