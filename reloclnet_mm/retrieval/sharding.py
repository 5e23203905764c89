"""A corpus that is spread over ranks: each ranks its own videos for the queries of all.

Letters of shapes: Q queries of all ranks, N videos of a rank, K ranks of a list.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, all_gather_object, get_rank
from torch import Tensor

from reloclnet_mm.retrieval.index import CorpusIndex
from reloclnet_mm.retrieval.moment_search import (
    RankedMoments,
    SpanRange,
    query_blocks,
    rank_moments,
    rank_moments_in_own_video,
)
from reloclnet_mm.retrieval.results import RankedLists, RankingOptions
from reloclnet_mm.retrieval.video_search import best_videos
from reloclnet_mm.structures import VideoCorpus


@dataclass(frozen=True)
class CorpusShard:
    """The videos of this rank, and where they stand among those of all.

    Attributes:
        index: The videos of this rank; None: it has none.
        corpus: All videos, without features.
        places: (N,) int64, the places in ``corpus`` of this rank's videos.
        device: Where queries are ranked.
    """

    index: CorpusIndex | None
    corpus: VideoCorpus
    places: Tensor
    device: torch.device


def own_videos_of_rank(encoded: VideoCorpus) -> tuple[VideoCorpus | None, VideoCorpus]:
    """Settle which rank keeps which videos; every rank must call it.

    Args:
        encoded: What this rank encoded. Ranks may overlap, as they do where a sampler pads.

    Returns:
        The videos that this rank keeps, None if none, and all ranks' videos without features.
    """
    described = all_gather_object(encoded.without_features().to('cpu'))
    earlier = {position for part in described[: get_rank()] for position in part.order.tolist()}
    kept = [i for i, position in enumerate(encoded.order.tolist()) if position not in earlier]
    everything = VideoCorpus.merge(described)
    if len(kept) == len(encoded):
        return encoded, everything
    return encoded.select(kept) if kept else None, everything


def make_shard(index: CorpusIndex | None, corpus: VideoCorpus, device: torch.device) -> CorpusShard:
    """A shard of indexed videos.

    Args:
        index: Of the videos that :func:`own_videos_of_rank` left to this rank.
        corpus: All videos.
        device: Where queries are ranked.
    """
    ids = [] if index is None else index.corpus.video_ids.tolist()
    places = torch.tensor([corpus.place_of(i) for i in ids], dtype=torch.long, device=device)
    return CorpusShard(index, corpus, places, device)


def rank_shards(
    queries: Mapping[str, Tensor],
    mapped: Mapping[str, Tensor],
    shard: CorpusShard,
    own_videos: Tensor,
    options: RankingOptions,
) -> RankedLists:
    """:func:`~reloclnet_mm.retrieval.results.rank_corpus` over all ranks' videos.

    Every rank must call it, each with queries of its own.

    Args:
        queries: Stream name to (q, d), of this rank.
        mapped: The same, mapped by the span predictor.
        shard: This rank's videos.
        own_videos: (q,) int64, the place of each query's own video in the whole corpus, −1 where
            it is not known.
        options: How many, how long.
    """
    names = list(queries)
    columns = [*queries.values(), *mapped.values()]
    everyone, mine = _gather_rows(torch.cat(columns, 1))
    own, _ = _gather_rows(own_videos[:, None])
    parts = everyone.chunk(len(columns), 1)
    all_queries = dict(zip(names, parts[: len(names)], strict=True))
    all_mapped = dict(zip(names, parts[len(names) :], strict=True))
    videos, moments, own_moments = [], [], []
    for block in query_blocks(all_queries):
        of_queries = {name: x[block] for name, x in all_queries.items()}
        of_mapped = {name: x[block] for name, x in all_mapped.items()}
        found, in_videos = _rank_videos_and_moments(of_queries, of_mapped, shard, options)
        videos.append(found)
        moments.append(in_videos)
        own_moments.append(_rank_own(of_mapped, shard, own[block, 0], options.spans))
    scores, places = (torch.cat(x)[mine] for x in zip(*videos, strict=True))
    known = own_videos >= 0
    svmr = RankedMoments.cat(own_moments)[mine][known] if known.any() else None
    return RankedLists(scores, places, RankedMoments.cat(moments)[mine], svmr)


def merge_videos(
    scores: list[Tensor], places: list[Tensor], num_videos: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best videos of several lists.

    Args:
        scores: Of each shard (Q, K), descending; −∞ where it has no more videos.
        places: Of each shard (Q, K).
        num_videos: How many to keep.

    Returns:
        Scores and places of the best, and (shards, Q) how many are of each shard: the first of its
        list, for order is kept where scores are equal.
    """
    width = scores[0].shape[1]
    best, chosen = torch.cat(scores, 1).sort(dim=1, descending=True, stable=True)
    best, chosen = best[:, :num_videos], chosen[:, :num_videos]
    shards = torch.arange(len(scores), device=chosen.device)[:, None, None]
    counts = (chosen // width == shards).sum(2)
    return best, torch.cat(places, 1).gather(1, chosen), counts


def merge_moments(lists: list[RankedMoments], num_moments: int) -> RankedMoments:
    """The best moments of several lists.

    Args:
        lists: Of each shard, with places in the whole corpus.
        num_moments: How many to keep.
    """
    scores = torch.cat([x.scores for x in lists], 1)
    best, chosen = scores.sort(dim=1, descending=True, stable=True)
    best, chosen = best[:, :num_moments], chosen[:, :num_moments]
    places = torch.cat([x.places for x in lists], 1).gather(1, chosen)
    spans = torch.cat([x.spans for x in lists], 1)
    return RankedMoments(best, places, spans.gather(1, chosen[..., None].expand(-1, -1, 2)))


def _rank_videos_and_moments(
    queries: Mapping[str, Tensor],
    mapped: Mapping[str, Tensor],
    shard: CorpusShard,
    options: RankingOptions,
) -> tuple[tuple[Tensor, Tensor], RankedMoments]:
    count = len(next(iter(queries.values())))
    width = min(options.num_videos, len(shard.corpus))
    scores = torch.full((count, width), -torch.inf, device=shard.device)
    local = torch.zeros((count, width), dtype=torch.long, device=shard.device)
    if shard.index is not None:
        found, places = best_videos(queries, shard.index, width)
        scores[:, : found.shape[1]], local[:, : found.shape[1]] = found, places
    places = shard.places[local] if len(shard.places) else local
    best, best_places, counts = merge_videos(all_gather(scores), all_gather(places), width)
    chosen = counts[get_rank()]
    moments = _no_moments(count, options.spans, shard.device)
    searched = int(chosen.max())
    if searched:
        ranks = torch.arange(searched, device=shard.device)
        weights = torch.exp(options.alpha * scores[:, :searched])
        weights.masked_fill_(ranks >= chosen[:, None], -1)
        moments = rank_moments(mapped, shard.index, local[:, :searched], weights, options.spans)
    return (best, best_places), _merge_over_ranks(moments, shard, options.spans)


def _rank_own(
    mapped: Mapping[str, Tensor], shard: CorpusShard, own_videos: Tensor, spans: SpanRange
) -> RankedMoments:
    """SVMR of queries whose own video this rank has, and then of all."""
    moments = _no_moments(len(own_videos), spans, shard.device)
    if len(shard.places):
        query, video = (own_videos[:, None] == shard.places).nonzero(as_tuple=True)
        if len(query):
            part = {name: x[query] for name, x in mapped.items()}
            found = rank_moments_in_own_video(part, shard.index, video, spans)
            moments.scores[query] = found.scores
            moments.places[query] = found.places
            moments.spans[query] = found.spans
    return _merge_over_ranks(moments, shard, spans)


def _no_moments(count: int, spans: SpanRange, device: torch.device) -> RankedMoments:
    return RankedMoments(
        torch.full((count, spans.num_moments), -1.0, device=device),
        torch.zeros((count, spans.num_moments), dtype=torch.long, device=device),
        torch.zeros((count, spans.num_moments, 2), dtype=torch.long, device=device),
    )


def _merge_over_ranks(
    moments: RankedMoments, shard: CorpusShard, spans: SpanRange
) -> RankedMoments:
    places = shard.places[moments.places] if len(shard.places) else moments.places
    gathered = (all_gather(moments.scores), all_gather(places), all_gather(moments.spans))
    lists = [RankedMoments(*one) for one in zip(*gathered, strict=True)]
    return merge_moments(lists, spans.num_moments)


def _gather_rows(x: Tensor) -> tuple[Tensor, slice]:
    """The rows of all ranks, which may have unequally many, and where this rank's stand."""
    sizes = torch.cat(all_gather(torch.tensor([len(x)], device=x.device))).tolist()
    padded = all_gather(F.pad(x, (0, 0, 0, max(sizes) - len(x))))
    first = sum(sizes[: get_rank()])
    rows = torch.cat([part[:size] for part, size in zip(padded, sizes, strict=True)])
    return rows, slice(first, first + len(x))
