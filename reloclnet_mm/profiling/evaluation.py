"""Ranking a corpus for encoded queries: ours and the long way."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from reloclnet_mm.profiling.harness import Subject, Workload, random_lengths, random_streams
from reloclnet_mm.profiling.straightforward import PaddedCorpus, rank_plainly
from reloclnet_mm.retrieval.index import CoarseDtype, CorpusIndex
from reloclnet_mm.retrieval.moment_search import (
    RankedMoments,
    SpanRange,
    rank_moments_in_own_video,
    rank_videos_and_moments,
)
from reloclnet_mm.structures import VideoCorpus
from reloclnet_mm.structures.packed_rows import RowLayout

NUM_VIDEOS, ALPHA, SPANS = 100, 30.0, SpanRange(min_span=2, max_span=16, num_moments=100)


@dataclass(frozen=True)
class Sizes:
    """A corpus and queries of two streams.

    Attributes:
        queries: Q.
        videos: N.
        mean_clips: Of the videos.
        max_clips: Of the videos; the long way pads to it.
        width: d.
    """

    queries: int
    videos: int
    mean_clips: float
    max_clips: int
    width: int


@dataclass(frozen=True)
class Encodings:
    """Random encodings.

    Attributes:
        corpus: The videos.
        queries: Stream name to (Q, d).
        mapped: The same, mapped by a span predictor.
        own_videos: (Q,) int64.
        kernels: (2, 1, 5).
    """

    corpus: VideoCorpus
    queries: dict[str, Tensor]
    mapped: dict[str, Tensor]
    own_videos: Tensor
    kernels: Tensor

    @staticmethod
    def draw(sizes: Sizes) -> 'Encodings':
        """The same for the same sizes."""
        generator = torch.Generator().manual_seed(0)
        lengths = sorted(random_lengths(sizes.videos, sizes.mean_clips, sizes.max_clips, generator))
        streams = ('video', 'subtitle')
        number = torch.arange(sizes.videos)
        corpus = VideoCorpus(
            video_names=tuple(str(i) for i in number.tolist()),
            video_ids=number,
            seconds_per_clip=torch.full((sizes.videos,), 1.5),
            order=number,
            streams=streams,
            features=torch.randn(sum(lengths), 2 * sizes.width, generator=generator),
            layout=RowLayout.stack(lengths, lengths),
        )
        widths = dict.fromkeys(streams, sizes.width)
        queries = random_streams(sizes.queries, widths, generator)
        mapped = random_streams(sizes.queries, widths, generator)
        return Encodings(
            corpus,
            queries,
            # So that probabilities of clips differ by a few orders of magnitude.
            {name: x.mul_(sizes.width**-0.5) for name, x in mapped.items()},
            torch.randint(sizes.videos, (sizes.queries,), generator=generator),
            torch.randn(2, 1, 5, generator=generator),
        )


def ours(sizes: Sizes, coarse_dtype: CoarseDtype, answered: int) -> Workload:
    """Ranks all queries; gives the lists of the first ``answered``."""
    data = Encodings.draw(sizes)
    index = CorpusIndex(data.corpus, data.kernels, coarse_dtype)
    index.prepare()

    @torch.no_grad()
    def work() -> dict[str, Tensor]:
        scores, videos, moments = rank_videos_and_moments(
            data.queries, data.mapped, index, num_videos=NUM_VIDEOS, alpha=ALPHA, spans=SPANS
        )
        own = rank_moments_in_own_video(data.mapped, index, data.own_videos, SPANS)
        return dict(
            video_scores=scores[:answered],
            videos=videos[:answered],
            moment_scores=moments.scores[:answered],
            moments=_items(moments, answered),
            own_scores=own.scores[:answered],
            own_moments=_items(own, answered),
        )

    return work


def _items(moments: RankedMoments, count: int) -> Tensor:
    return torch.cat([moments.places[:count, :, None], moments.spans[:count]], 2)


def plain(sizes: Sizes, answered: int) -> Workload:
    """Ranks the first ``answered`` queries the long way."""
    data = Encodings.draw(sizes)
    corpus = PaddedCorpus.of(data.corpus, sizes.max_clips)

    @torch.no_grad()
    def work() -> dict[str, Tensor]:
        lists = rank_plainly(
            {name: x[:answered] for name, x in data.queries.items()},
            {name: x[:answered] for name, x in data.mapped.items()},
            corpus,
            data.own_videos[:answered],
            data.kernels,
            num_videos=NUM_VIDEOS,
            alpha=ALPHA,
            **asdict(SPANS),
        )
        return vars(lists)

    return work


def ours_one_by_one(sizes: Sizes, coarse_dtype: CoarseDtype) -> Workload:
    """Ranks one query after another, the next at each run."""
    data = Encodings.draw(sizes)
    index = CorpusIndex(data.corpus, data.kernels, coarse_dtype)
    index.prepare()
    numbers = _round_and_round(sizes.queries)

    @torch.no_grad()
    def work() -> None:
        i = next(numbers)
        rank_videos_and_moments(
            {name: x[i : i + 1] for name, x in data.queries.items()},
            {name: x[i : i + 1] for name, x in data.mapped.items()},
            index,
            num_videos=NUM_VIDEOS,
            alpha=ALPHA,
            spans=SPANS,
        )

    return work


def _round_and_round(count: int) -> Iterator[int]:
    while True:
        yield from range(count)


def evaluation_gflop(sizes: Sizes) -> float:
    """Of the products of all queries with all clips, two streams."""
    clips = int(Encodings.draw(sizes).corpus.layout.lengths.sum())
    return 2 * 2 * sizes.queries * clips * sizes.width / 1e9


def same_lists(found: dict[str, Tensor], expected: dict[str, Tensor]) -> tuple[bool, float]:
    """Whether lists are the same but for the order of equal scores, and how far scores differ.

    Args:
        found: Lists by name, as the workloads return them.
        expected: The others.

    Returns:
        Whether they are the same, and the largest difference of a score, relative to the largest
        score of its query.
    """
    same, worst = True, 0.0
    for scores, items in (
        ('video_scores', 'videos'),
        ('moment_scores', 'moments'),
        ('own_scores', 'own_moments'),
    ):
        a, b = found[scores], expected[scores]
        worst = max(worst, float(((a - b).abs() / b.abs().amax(1, keepdim=True)).max()))
        moved = found[items] != expected[items]
        moved = moved.flatten(2).any(2) if moved.dim() == 3 else moved
        # An item that stands elsewhere must have a neighbour of the same score there.
        tied = (b[:, 1:] - b[:, :-1]).abs() <= 2e-6 * b[:, 1:].abs()
        beside = torch.nn.functional.pad(tied, (0, 1)) | torch.nn.functional.pad(tied, (1, 0))
        beside[:, -1] = True
        same &= not bool((moved & ~beside & (b >= 0)).any())
    return same, worst


def subjects(sizes: Sizes, coarse_dtype: CoarseDtype, plain_queries: int) -> list[Subject]:
    """Ours over all queries, and the long way over some."""
    return [
        Subject('ours', ours, dict(sizes=sizes, coarse_dtype=coarse_dtype, answered=plain_queries)),
        Subject('straightforward', plain, dict(sizes=sizes, answered=plain_queries)),
    ]
