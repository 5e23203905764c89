"""Ranking a corpus for encoded queries: ours, the plain way, and the products alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from reloclnet_mm.models.span_heads import MergedSpanHead
from reloclnet_mm.profiling.harness import Subject, Workload, random_lengths, random_streams
from reloclnet_mm.profiling.straightforward import PaddedCorpus, rank_plainly
from reloclnet_mm.retrieval.moment_search import MomentSearch, RankedMoments
from reloclnet_mm.retrieval.results import RankingOptions
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.structures import EncodedCorpus, RowLayout

OPTIONS = RankingOptions()
STREAMS = ('video', 'subtitle')


@dataclass(frozen=True)
class Sizes:
    """A corpus and queries of two streams.

    Attributes:
        queries: Q.
        videos: N.
        mean_clips: Mean number of clips of a video.
        max_clips: Most clips of a video; the plain way pads to it.
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
        own_videos: (Q,) int64.
        span_head: Predicts spans.
    """

    corpus: EncodedCorpus
    queries: dict[str, Tensor]
    own_videos: Tensor
    span_head: MergedSpanHead

    @staticmethod
    def draw(sizes: Sizes) -> 'Encodings':
        """Draw encodings, the same for the same sizes."""
        generator = torch.Generator().manual_seed(0)
        lengths = sorted(random_lengths(sizes.videos, sizes.mean_clips, sizes.max_clips, generator))
        number, widths = torch.arange(sizes.videos), dict.fromkeys(STREAMS, sizes.width)
        rows = random_streams(sum(lengths), widths, generator)
        corpus = EncodedCorpus(
            video_names=tuple(str(i) for i in number.tolist()),
            video_ids=number,
            seconds_per_clip=torch.full((sizes.videos,), 1.5),
            positions=number,
            layout=RowLayout.stack(lengths, lengths),
            rows=dict(retrieval=rows, localization=rows),
        )
        return Encodings(
            corpus,
            random_streams(sizes.queries, widths, generator),
            torch.randint(sizes.videos, (sizes.queries,), generator=generator),
            _span_head(sizes.width, generator),
        )

    def moment_search(self, corpus: EncodedCorpus) -> MomentSearch:
        """Make the search for spans by the span head."""
        return MomentSearch(corpus, self.span_head)


def _span_head(width: int, generator: torch.Generator) -> MergedSpanHead:
    head = MergedSpanHead(streams=STREAMS, embed_dims=width).requires_grad_(False)
    for linear in head.query_maps.values():
        # So that probabilities of clips differ by a few orders of magnitude.
        linear.weight.normal_(std=1 / width, generator=generator)
        linear.bias.zero_()
    for convolution in (head.start_conv, head.end_conv):
        convolution.weight.normal_(generator=generator)
    return head


def ours(sizes: Sizes, answered: int) -> Workload:
    """Rank all queries; give the lists of the first ``answered``."""
    data = Encodings.draw(sizes)
    index = CorpusIndex.build(data.corpus, data.moment_search)

    def work() -> dict[str, Tensor]:
        lists = index.rank(data.queries, data.own_videos, OPTIONS)
        return dict(
            video_scores=lists.video_scores[:answered],
            videos=lists.videos[:answered],
            moment_scores=lists.moments.scores[:answered],
            moments=_items(lists.moments, answered),
            own_scores=lists.own_moments.scores[:answered],
            own_moments=_items(lists.own_moments, answered),
        )

    return work


def _items(moments: RankedMoments, count: int) -> Tensor:
    return torch.cat([moments.places[:count, :, None], moments.spans[:count]], 2)


def plain(sizes: Sizes, answered: int) -> Workload:
    """Rank the first ``answered`` queries the plain way."""
    data = Encodings.draw(sizes)
    corpus = PaddedCorpus.of(data.corpus, sizes.max_clips)
    queries = {name: x[:answered] for name, x in data.queries.items()}
    kernels = torch.cat([data.span_head.start_conv.weight, data.span_head.end_conv.weight])

    @torch.no_grad()
    def work() -> dict[str, Tensor]:
        lists = rank_plainly(
            queries,
            data.span_head.map_queries(queries),
            corpus,
            data.own_videos[:answered],
            kernels,
            num_videos=OPTIONS.num_videos,
            alpha=OPTIONS.alpha,
            min_span=OPTIONS.min_span,
            max_span=OPTIONS.max_span,
            num_moments=OPTIONS.num_moments,
        )
        relative = torch.exp(-OPTIONS.alpha * lists.video_scores[:, :1])
        return vars(lists) | dict(moment_scores=lists.moment_scores * relative)

    return work


def products(sizes: Sizes) -> Workload:
    """Multiply all clips with all queries, in the blocks that were fastest for that alone."""
    data = Encodings.draw(sizes)
    queries = {name: [x.T.contiguous() for x in parts] for name, parts in _split(data.queries)}
    space = torch.empty(PRODUCT_ROWS * PRODUCT_QUERIES)

    @torch.no_grad()
    def work() -> None:
        for name, x in data.corpus.rows['retrieval'].items():
            for rows in x.split(PRODUCT_ROWS):
                for part in queries[name]:
                    shape = len(rows), part.shape[1]
                    torch.mm(rows, part, out=space[: shape[0] * shape[1]].view(shape))

    return work


def _split(queries: dict[str, Tensor]) -> list[tuple[str, tuple[Tensor, ...]]]:
    return [(name, x.split(PRODUCT_QUERIES)) for name, x in queries.items()]


PRODUCT_ROWS, PRODUCT_QUERIES = 4096, 512
"""Clips and queries of a block of the products alone."""


def ours_one_by_one(sizes: Sizes) -> Workload:
    """Rank one query after another, the next at each run."""
    data = Encodings.draw(sizes)
    index = CorpusIndex.build(data.corpus, data.moment_search)
    numbers = _round_and_round(sizes.queries)
    unknown = torch.tensor([-1])

    def work() -> None:
        i = next(numbers)
        query = {name: x[i : i + 1] for name, x in data.queries.items()}
        index.rank(query, unknown, OPTIONS)

    return work


def _round_and_round(count: int) -> Iterator[int]:
    while True:
        yield from range(count)


def evaluation_gflop(sizes: Sizes) -> float:
    """Count the work of the products of all queries with all clips, two streams."""
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
        # An item in another place must have a neighbour of the same score there.
        tied = (b[:, 1:] - b[:, :-1]).abs() <= 2e-6 * b[:, 1:].abs()
        beside = torch.nn.functional.pad(tied, (0, 1)) | torch.nn.functional.pad(tied, (1, 0))
        beside[:, -1] = True
        same &= not bool((moved & ~beside & (b >= 0)).any())
    return same, worst


def subjects(sizes: Sizes, plain_queries: int) -> list[Subject]:
    """Ours over all queries, the products alone, and the plain way over some queries."""
    return [
        Subject('ours', ours, dict(sizes=sizes, answered=plain_queries)),
        Subject('products alone', products, dict(sizes=sizes)),
        Subject('straightforward', plain, dict(sizes=sizes, answered=plain_queries)),
    ]
