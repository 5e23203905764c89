"""Corpora and queries on which a search might go wrong."""

from dataclasses import dataclass, replace

import torch

from reloclnet_mm.models.span_heads import MergedSpanHead
from reloclnet_mm.retrieval.moment_search import SpanRange
from reloclnet_mm.structures import EncodedCorpus, RowLayout

WIDTH = 16
SPANS = SpanRange(1, 5, 20)


def corpus_of(videos, streams):
    """Videos (clips, S·d) in any order, as an encoded corpus."""
    videos = sorted(videos, key=len)
    lengths = [len(x) for x in videos]
    numbers = torch.arange(len(videos))
    rows = dict(zip(streams, torch.cat(videos).chunk(len(streams), 1), strict=True))
    return EncodedCorpus(
        video_names=tuple(f'v{i}' for i in numbers.tolist()),
        video_ids=numbers,
        seconds_per_clip=torch.ones(len(videos)),
        positions=numbers,
        layout=RowLayout.stack(lengths, lengths),
        rows=dict(retrieval=rows, localization=rows),
    )


def head_of(kernels, streams):
    """A span head of these kernels (2, 1, size) that takes queries as they are."""
    head = MergedSpanHead(streams=streams, embed_dims=1, kernel_size=kernels.shape[2])
    head.query_maps = torch.nn.ModuleDict({name: torch.nn.Identity() for name in streams})
    head.start_conv.weight.data, head.end_conv.weight.data = kernels.split(1)
    return head.requires_grad_(False)


@dataclass(frozen=True)
class Case:
    """Videos (clips, S·d) and queries (Q, S·d), the streams side by side, and what is asked."""

    videos: list
    queries: torch.Tensor
    mapped: torch.Tensor
    kernels: torch.Tensor
    num_videos: int = 10
    alpha: float = 5.0
    spans: SpanRange = SPANS

    def by_stream(self, streams):
        """The corpus, the queries and the mapped queries of some streams."""
        size = len(streams) * WIDTH
        queries, mapped = (
            dict(zip(streams, x[:, :size].split(WIDTH, 1), strict=True))
            for x in (self.queries, self.mapped)
        )
        return corpus_of([x[:, :size] for x in self.videos], streams), queries, mapped


def normal(generator, *shape):
    return torch.randn(shape, generator=generator)


def videos_of(generator, lengths, scale=1.0):
    return [scale * normal(generator, n, 2 * WIDTH) for n in lengths]


def mixed_lengths(generator, count=40, longest=12):
    return torch.randint(1, longest + 1, (count,), generator=generator).tolist()


def plain(generator, num_queries, lengths=None, **changes):
    """Everything random."""
    lengths = mixed_lengths(generator) if lengths is None else lengths
    settings = dict(
        videos=videos_of(generator, lengths),
        queries=normal(generator, num_queries, 2 * WIDTH),
        mapped=normal(generator, num_queries, 2 * WIDTH) / 4,
        kernels=normal(generator, 2, 1, 5),
    )
    return Case(**(settings | changes))


def duplicated(generator, num_queries):
    """Every video twice; the K-th rank is between two of a kind."""
    videos = 2 * videos_of(generator, mixed_lengths(generator, 20))
    return plain(generator, num_queries, videos=videos, num_videos=11)


def near_ties(generator, num_queries):
    """Scores that differ by less than bfloat16 can tell."""
    one = normal(generator, 3, 2 * WIDTH)
    videos = [one + 1e-5 * normal(generator, 3, 2 * WIDTH) for _ in range(300)]
    return plain(generator, num_queries, videos=videos, num_videos=50)


def near_ties_of_streams(generator, num_queries):
    """The streams differ by more than bfloat16 can tell, and their mean by less."""
    one = normal(generator, 1, 2 * WIDTH)
    videos = []
    for _ in range(100):
        change = 0.05 * normal(generator, 1, WIDTH)
        videos.append(one + torch.cat([change, -change], 1) + 1e-5 * normal(generator, 1, 1))
    queries = normal(generator, num_queries, WIDTH).repeat(1, 2)
    return plain(generator, num_queries, videos=videos, queries=queries, num_videos=30)


def all_the_same(generator, num_queries):
    """One video 30 times."""
    videos = 30 * videos_of(generator, [4])
    return plain(generator, num_queries, videos=videos)


def one_video(generator, num_queries):
    return plain(generator, num_queries, [7])


def one_clip_each(generator, num_queries):
    """No span of two clips: each video is answered whole."""
    return plain(generator, num_queries, [1] * 30)


def one_clip_each_is_a_span(generator, num_queries):
    return plain(generator, num_queries, [1] * 30, spans=SpanRange(0, 3, 20))


def equally_long(generator, num_queries):
    return plain(generator, num_queries, [12] * 30)


def fewer_videos_than_asked(generator, num_queries):
    return plain(generator, num_queries, [3, 9, 5, 1, 12], num_videos=100)


def fewer_spans_than_asked(generator, num_queries):
    return plain(generator, num_queries, spans=SpanRange(2, 4, 900))


def fewer_spans_in_short_videos(generator, num_queries):
    """Most videos are short: what is asked for is there for some queries only."""
    lengths = [2] * 12 + [20] * 3
    return plain(generator, num_queries, lengths, num_videos=2, spans=SpanRange(1, 3, 60))


def zeros(generator, num_queries):
    """Clips, videos and queries without direction."""
    case = plain(generator, num_queries)
    for i in (0, 5, 11):
        case.videos[i][0] = 0
        case.videos[i + 1][:] = 0
        case.videos[i + 2][:, :WIDTH] = 0
    case.queries[0] = 0
    case.mapped[0] = 0
    return case


def all_zeros(generator, num_queries):
    case = plain(generator, num_queries)
    return replace(case, videos=[torch.zeros_like(x) for x in case.videos])


def norms_far_apart(generator, num_queries):
    """Vectors of norms from 1e-3 to 1e4; similarities stay moderate."""
    case = plain(generator, num_queries)
    videos = [x * 10 ** (7 * torch.rand(len(x), 1, generator=generator) - 3) for x in case.videos]
    queries = case.queries * 10 ** (7 * torch.rand(num_queries, 1, generator=generator) - 3)
    videos = [x / WIDTH**0.5 for x in videos]
    return replace(case, videos=videos, queries=queries, mapped=case.mapped * 1e-4)


def certain(generator, num_queries):
    """Probabilities of 0 and 1, from whole numbers that float32 adds exactly."""
    lengths = mixed_lengths(generator)

    def whole(*shape):
        return torch.randint(-20, 21, shape, generator=generator).float()

    return plain(
        generator,
        num_queries,
        videos=[whole(n, 2 * WIDTH) for n in lengths],
        mapped=2 * whole(num_queries, 2 * WIDTH),
        kernels=torch.tensor([[[0.0, 0, 1, 2, 0]], [[1.0, 0, 2, 0, 0]]]),
    )


def spans_longer_than_videos(generator, num_queries):
    lengths = mixed_lengths(generator, longest=8)
    return plain(generator, num_queries, lengths, spans=SpanRange(3, 60, 20))


def spans_of_one_length(generator, num_queries):
    return plain(generator, num_queries, spans=SpanRange(6, 7, 20))


def equal_spans(generator, num_queries):
    """Kernels of zeros: all spans of a video are equally good."""
    return plain(generator, num_queries, kernels=torch.zeros(2, 1, 5))


def rounded_the_same_way(generator, num_queries):
    """Unit vectors whose elements all round up, or all down, by almost half a step."""
    vectors = midpoint_vectors(generator, 120, WIDTH)
    videos = [x.repeat(1, 2) for x in vectors.split(2)]
    queries = midpoint_vectors(generator, num_queries, WIDTH).repeat(1, 2)
    return plain(generator, num_queries, videos=videos, queries=queries)


def midpoint_vectors(generator, count, width):
    """Unit vectors whose elements are just beside the middle of two numbers of bfloat16."""
    steps = torch.randint(0, 16, (count, width), generator=generator)
    # 2^-3 to 2^-2 in steps of 2^-10, and half a step.
    x = (2**-3 + steps * 2.0**-10 + 2**-11) * (1 + 1e-6)
    # The last elements make the norm 1, so that to normalize moves nothing.
    rest = (1 - x[:, : width // 2].square().sum(1)).clamp(min=0) / (width - width // 2)
    x[:, width // 2 :] = rest.sqrt()[:, None]
    return x * normal(generator, count, width).sign()


CASES = {
    case.__name__: case
    for case in (
        plain,
        duplicated,
        near_ties,
        near_ties_of_streams,
        all_the_same,
        one_video,
        one_clip_each,
        one_clip_each_is_a_span,
        equally_long,
        fewer_videos_than_asked,
        fewer_spans_than_asked,
        fewer_spans_in_short_videos,
        zeros,
        all_zeros,
        norms_far_apart,
        certain,
        spans_longer_than_videos,
        spans_of_one_length,
        equal_spans,
        rounded_the_same_way,
    )
}
