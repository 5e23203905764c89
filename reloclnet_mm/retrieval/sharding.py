"""A corpus ready for queries, whole in one process or spread over several.

Each process ranks its own videos for the queries of all, and the lists are merged. One process, or
a corpus that every process has whole, is the case of one shard.

Letters of shapes: Q queries, N videos of a shard, K places of a list.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, all_gather_object, get_rank
from torch import Tensor

from reloclnet_mm.retrieval.moment_search import MomentFinder, RankedMoments
from reloclnet_mm.retrieval.parted_moments import PartedMoments
from reloclnet_mm.retrieval.results import RankedLists, RankingOptions
from reloclnet_mm.retrieval.video_search import ExactVideoSearch, VideoSearch
from reloclnet_mm.structures import EncodedCorpus
from reloclnet_mm.structures.parted_corpus import PartedCorpus

_QUERIES_AT_ONCE = 2048


@dataclass(frozen=True)
class Shard:
    """The videos of this process and their places among those of all processes.

    Attributes:
        corpus: All videos; with several shards without rows.
        own: The videos of this process; None: it has none.
        device: Device on which queries are ranked.
        places: (N,) int64, the places in ``corpus`` of the videos of this process.
        places_here: (all videos + 1,) int64, the place of each video of ``corpus`` in this process,
            −1 where another one has it; and −1 for place −1.
        is_sharded: Whether other processes have other videos; then all must ask together.
    """

    corpus: EncodedCorpus
    own: EncodedCorpus | None
    device: torch.device
    places: Tensor
    places_here: Tensor
    is_sharded: bool

    @staticmethod
    def of(encoded: EncodedCorpus, *, sharded: bool) -> 'Shard':
        """Settle which process keeps which videos.

        Args:
            encoded: The whole corpus; with ``sharded`` the videos that this process encoded.
            sharded: Whether each process keeps its own videos; then all must call this.
        """
        own, everything = _share_out(encoded) if sharded else (encoded, encoded)
        ids = [] if own is None else own.video_ids.tolist()
        places = torch.tensor([everything.place_of(i) for i in ids], dtype=torch.long)
        places_here = torch.full((len(everything) + 1,), -1)
        places_here[places] = torch.arange(len(places))
        device = encoded.device
        return Shard(everything, own, device, places.to(device), places_here.to(device), sharded)

    def gather(self, x: Tensor) -> list[Tensor]:
        """Collect a tensor of the same shape from each process."""
        return all_gather(x) if self.is_sharded else [x]

    def gather_queries(self, x: Tensor) -> tuple[Tensor, slice]:
        """Join the rows (Q, d) of all processes, which may have unequally many.

        Returns:
            The rows, and where those of this process are.
        """
        if not self.is_sharded:
            return x, slice(None)
        sizes = torch.cat(all_gather(torch.tensor([len(x)], device=x.device))).tolist()
        padded = all_gather(F.pad(x, (0, 0, 0, max(sizes) - len(x))))
        first = sum(sizes[: get_rank()])
        rows = torch.cat([part[:size] for part, size in zip(padded, sizes, strict=True)])
        return rows, slice(first, first + len(x))


@dataclass(frozen=True)
class CorpusIndex(Shard):
    """The videos of this process, ready for queries.

    Attributes:
        videos: Search for the videos of this process; None: it has none, or the model ranks
            without a search.
        moments: Search for moments in them; None as for videos.
    """

    videos: VideoSearch | None
    moments: MomentFinder | None

    @staticmethod
    def build(
        encoded: EncodedCorpus,
        moment_search: Callable[[EncodedCorpus], MomentFinder | None],
        *,
        sharded: bool = False,
    ) -> 'CorpusIndex':
        """Make encoded videos ready for queries.

        Args:
            encoded: The whole corpus; with ``sharded`` the videos that this process encoded.
            moment_search: Makes the search for moments in the videos of this process; what it
                makes is None where the model ranks without any search.
            sharded: Whether each process keeps its own videos; then all must call this.
        """
        shard = Shard.of(encoded, sharded=sharded)
        moments = None if shard.own is None else moment_search(shard.own)
        videos = None if moments is None else ExactVideoSearch(shard.own)
        return CorpusIndex(**vars(shard), videos=videos, moments=moments)

    @staticmethod
    def of_parts(
        corpus: PartedCorpus,
        videos: VideoSearch,
        moment_search: Callable[[EncodedCorpus], MomentFinder],
        device: torch.device,
    ) -> 'CorpusIndex':
        """Make videos ready for queries whose rows stay on disk.

        Args:
            corpus: The videos.
            videos: Search for videos in it.
            moment_search: Makes the search for moments in videos that were read.
            device: Device on which moments are ranked.
        """
        places = torch.arange(len(corpus), device=device)
        return CorpusIndex(
            corpus=corpus,
            own=corpus,
            device=device,
            places=places,
            places_here=F.pad(places, (0, 1), value=-1),
            is_sharded=False,
            videos=videos,
            moments=PartedMoments(corpus, moment_search, device),
        )

    @torch.no_grad()
    def rank(
        self, queries: Mapping[str, Tensor], own_videos: Tensor, options: RankingOptions
    ) -> RankedLists:
        """Rank videos and moments for encoded queries (VR, VCMR and SVMR).

        Args:
            queries: Stream name to (Q, d), of this process.
            own_videos: (Q,) int64, the place of each query's own video in ``corpus``, −1 where it
                is not known.
            options: How many, how long.
        """
        names, own_videos = list(queries), own_videos.to(self.device)
        widths = [x.shape[1] for x in queries.values()]
        joined = torch.cat(list(queries.values()), 1)
        everyone, mine = self.gather_queries(joined)
        own, _ = self.gather_queries(own_videos[:, None])
        found = []
        for block, own_block in zip(
            everyone.split(_QUERIES_AT_ONCE), own[:, 0].split(_QUERIES_AT_ONCE), strict=True
        ):
            part = dict(zip(names, block.split(widths, 1), strict=True))
            found.append(self._rank_block(part, own_block, options))
        scores, places, moments, own_moments = zip(*found, strict=True)
        known = own_videos >= 0
        has_own = 'SVMR' in options.tasks and known.any()
        return RankedLists(
            torch.cat(scores)[mine],
            torch.cat(places)[mine],
            RankedMoments.cat(moments)[mine] if 'VCMR' in options.tasks else None,
            RankedMoments.cat(own_moments)[mine][known] if has_own else None,
        )

    @torch.no_grad()
    def search_videos(self, queries: Mapping[str, Tensor], width: int) -> tuple[Tensor, Tensor]:
        """Find the best videos of this process, the first of two rounds over shards.

        Args:
            queries: Stream name to (Q, d).
            width: Videos of each query.

        Returns:
            Scores (Q, width), descending, −∞ where this process has fewer videos, and places
            (Q, width) among those of this process.
        """
        count = len(next(iter(queries.values())))
        scores = torch.full((count, width), -torch.inf, device=self.device)
        local = torch.zeros((count, width), dtype=torch.long, device=self.device)
        if self.videos is not None:
            found, places = self.videos.search(queries, width)
            scores[:, : found.shape[1]], local[:, : found.shape[1]] = found, places
        return scores, local

    @torch.no_grad()
    def rank_moments(
        self,
        queries: Mapping[str, Tensor],
        found: tuple[Tensor, Tensor],
        best: Tensor,
        chosen: Tensor,
        options: RankingOptions,
    ) -> RankedMoments:
        """Rank moments in the best videos of this process, the second of two rounds over shards.

        Args:
            queries: Stream name to (Q, d).
            found: What :meth:`search_videos` returned.
            best: (Q, 1), scores of the best videos of all shards.
            chosen: (Q,) int64, in how many of the videos found moments are searched for.
            options: How many, how long.

        Returns:
            Moments, with places among the videos of this process.
        """
        scores, local = found
        searched, spans = int(chosen.max()), options.spans
        if not searched:
            return RankedMoments.none(len(local), spans.num_moments, self.device)
        # Relative to the best, for exp would overflow; the order is the same.
        weights = torch.exp(options.alpha * (scores[:, :searched] - best))
        places = torch.arange(searched, device=self.device)
        weights = weights.masked_fill(places >= chosen[:, None], -1)
        return self.moments.rank(queries, local[:, :searched], weights, spans)

    def best_scores(self, queries: Mapping[str, Tensor]) -> list[float]:
        """Score the best video of each query, by the mean over streams of the largest cosine.

        Args:
            queries: Stream name to (Q, d).
        """
        found, _ = self.videos.search(queries, 1)
        return found[:, 0].tolist()

    def stream_scores(
        self, places: Sequence[int], query: Mapping[str, Tensor]
    ) -> list[dict[str, float]]:
        """Compute what each stream of some videos contributes to their scores for a query.

        Args:
            places: Places of the videos in ``corpus``.
            query: Stream name to (d,).

        Returns:
            Of each video, stream name to the largest cosine of the query and a clip.
        """
        return [self._stream_scores(place, query) for place in places]

    @torch.no_grad()
    def span_probabilities(
        self, queries: Mapping[str, Tensor], videos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Compute the probabilities of start and end in one video of each query.

        Args:
            queries: Stream name to (Q, d).
            videos: (Q,) int64, places in ``corpus``.

        Returns:
            p_st (Q, L), p_ed (Q, L) and the mask (Q, L) of valid clips; None where the corpus is
            spread over processes, or the model has none.
        """
        if self.is_sharded or self.moments is None:
            return None
        return self.moments.span_probabilities(queries, videos.to(self.device))

    def _rank_block(
        self, queries: Mapping[str, Tensor], own_videos: Tensor, options: RankingOptions
    ) -> tuple[Tensor, Tensor, RankedMoments | None, RankedMoments | None]:
        """Scores and places of the best videos, and the moments that are asked for."""
        best, places, moments = rank_over_shards(_Processes(self), queries, options)
        own_moments = None
        if 'SVMR' in options.tasks:
            own_moments = self._rank_own(queries, own_videos, options)
        return best, places, moments, own_moments

    def _stream_scores(self, place: int, query: Mapping[str, Tensor]) -> dict[str, float]:
        at = torch.tensor([place], device=self.corpus.device)
        return {
            name: float(
                F.cosine_similarity(
                    self.corpus.retrieval_rows(at, name)[0], query[name][None].to(at.device), dim=1
                ).max()
            )
            for name in self.corpus.streams
        }

    def _rank_own(
        self, queries: Mapping[str, Tensor], own_videos: Tensor, options: RankingOptions
    ) -> RankedMoments:
        """Moments of queries in their own videos; none for a query whose video is not known."""
        moments = RankedMoments.none(len(own_videos), options.spans.num_moments, self.device)
        local = self.places_here[own_videos]
        here = (local >= 0).nonzero().squeeze(1)
        if len(here):
            part = {name: x[here] for name, x in queries.items()}
            found = self.moments.rank_in_one_video(part, local[here], options.spans)
            moments.scores[here] = found.scores
            moments.places[here] = found.places
            moments.spans[here] = found.spans.double()
        return merge_moments(self._gather_moments(moments), options.spans.num_moments)

    def _gather_moments(self, moments: RankedMoments) -> list[RankedMoments]:
        """Collect those of each process, with places in the whole corpus."""
        places, spans = self._to_corpus(moments.places), moments.spans.double()
        gathered = (self.gather(x) for x in (moments.scores, places, spans))
        return [RankedMoments(*one) for one in zip(*gathered, strict=True)]

    def _to_corpus(self, local: Tensor) -> Tensor:
        return self.places[local] if len(self.places) else local


class VideoShards(Protocol):
    """Shards that answer together, each for its own videos, by places in the whole corpus."""

    @property
    def num_videos(self) -> int:
        """Videos of the shards that answer; after a search there may be fewer."""

    def search_videos(
        self, queries: Mapping[str, Tensor], width: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """List the scores (Q, width) and places (Q, width) of the best videos of each shard."""

    def rank_moments(
        self,
        queries: Mapping[str, Tensor],
        found: tuple[list[Tensor], list[Tensor]],
        best: Tensor,
        counts: Tensor,
        options: RankingOptions,
    ) -> list[RankedMoments]:
        """List the best moments of each shard, in so many (shards, Q) of the videos it found."""


def rank_over_shards(
    shards: VideoShards, queries: Mapping[str, Tensor], options: RankingOptions
) -> tuple[Tensor, Tensor, RankedMoments | None]:
    """Rank videos and moments of all shards in two rounds: first videos, then moments in the best.

    Args:
        shards: Where the videos are.
        queries: Stream name to (Q, d).
        options: How many, how long.

    Returns:
        Scores (Q, K) and places (Q, K) of videos, and moments, None: not asked for.
    """
    found = shards.search_videos(queries, min(options.num_videos, shards.num_videos))
    width = min(options.num_videos, shards.num_videos)
    best, places, counts = merge_videos(*found, width, options.moment_videos)
    if 'VCMR' not in options.tasks:
        return best, places, None
    lists = shards.rank_moments(queries, found, best[:, :1], counts, options)
    return best, places, merge_moments(lists, options.spans.num_moments)


@dataclass(frozen=True)
class _Processes:
    """The shards of all processes; the index is that of this one."""

    index: CorpusIndex

    @property
    def num_videos(self) -> int:
        return len(self.index.corpus)

    def search_videos(
        self, queries: Mapping[str, Tensor], width: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        scores, local = self.index.search_videos(queries, width)
        return self.index.gather(scores), self.index.gather(self.index._to_corpus(local))

    def rank_moments(
        self,
        queries: Mapping[str, Tensor],
        found: tuple[list[Tensor], list[Tensor]],
        best: Tensor,
        counts: Tensor,
        options: RankingOptions,
    ) -> list[RankedMoments]:
        rank = get_rank() if self.index.is_sharded else 0
        own = found[0][rank], self.index.places_here[found[1][rank]]
        moments = self.index.rank_moments(queries, own, best, counts[rank], options)
        return self.index._gather_moments(moments)


def _share_out(encoded: EncodedCorpus) -> tuple[EncodedCorpus | None, EncodedCorpus]:
    """Settle which process keeps which videos; all must call it.

    Args:
        encoded: What this process encoded. Processes may overlap, as they do where a sampler pads.

    Returns:
        The videos that this process keeps, None if none, and all videos without rows.
    """
    described = all_gather_object(encoded.without_rows().to('cpu'))
    earlier = {p for part in described[: get_rank()] for p in part.positions.tolist()}
    kept = [i for i, position in enumerate(encoded.positions.tolist()) if position not in earlier]
    everything = EncodedCorpus.merge(described)
    if len(kept) == len(encoded):
        return encoded, everything
    return encoded.select(kept) if kept else None, everything


def merge_videos(
    scores: Sequence[Tensor],
    places: Sequence[Tensor],
    num_videos: int,
    num_counted: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the best videos of several shards.

    Args:
        scores: Of each shard (Q, K), descending; −∞ where it has no more videos.
        places: Of each shard (Q, K).
        num_videos: How many to keep.
        num_counted: How many of the best of these to count; None: all.

    Returns:
        Scores and places of the best, and (shards, Q) how many of those to count are of each shard:
        the first of its list, for order is kept where scores are equal.
    """
    width = scores[0].shape[1]
    best, chosen = torch.cat(list(scores), 1).sort(dim=1, descending=True, stable=True)
    best, chosen = best[:, :num_videos], chosen[:, :num_videos]
    shards = torch.arange(len(scores), device=chosen.device)[:, None, None]
    counts = (chosen[:, :num_counted] // width == shards).sum(2)
    return best, torch.cat(list(places), 1).gather(1, chosen), counts


def merge_moments(lists: Sequence[RankedMoments], num_moments: int) -> RankedMoments:
    """Merge the best moments of several shards.

    Args:
        lists: Of each shard, with places in the whole corpus.
        num_moments: How many to keep.
    """
    if len(lists) == 1:
        return lists[0]
    best, chosen = torch.cat([x.scores for x in lists], 1).sort(dim=1, descending=True, stable=True)
    best, chosen = best[:, :num_moments], chosen[:, :num_moments]
    places = torch.cat([x.places for x in lists], 1).gather(1, chosen)
    spans = torch.cat([x.spans for x in lists], 1)
    return RankedMoments(best, places, spans.gather(1, chosen[..., None].expand(-1, -1, 2)))
