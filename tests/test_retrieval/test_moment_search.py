"""The fast search against the long way, in float64, where either could go wrong."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from search_cases import CASES, WIDTH, corpus_of, plain
from torch.utils._python_dispatch import TorchDispatchMode

from reloclnet_mm.profiling.straightforward import PaddedCorpus, rank_plainly
from reloclnet_mm.retrieval import moment_search as search
from reloclnet_mm.retrieval import video_search as scan
from reloclnet_mm.retrieval.index import CorpusIndex
from reloclnet_mm.retrieval.moment_search import (
    RankedMoments,
    SpanRange,
    best_span_from_each_start,
    rank_moments,
    rank_moments_in_own_video,
    rank_videos_and_moments,
    window_maximum,
)
from reloclnet_mm.retrieval.pairs import VideoPairs

BOTH, ONE = ('video', 'subtitle'), ('video',)
COARSE = ('float32', 'bfloat16')
# Scores that differ by less may stand in any order.
EQUAL = 1e-6
# Kernels, where videos alone are ranked.
NO_SPANS = torch.zeros(2, 1, 5)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(11)


# Whole lists.


def assert_right_lists(case, streams, coarse_dtype):
    """VR, VCMR and SVMR are those of the long way in float64."""
    corpus, queries, mapped = case.by_stream(streams)
    own = torch.arange(len(case.queries)) * 7 % len(corpus)
    full = everything(case, corpus, queries, mapped, own)
    index = CorpusIndex(corpus, case.kernels, coarse_dtype)
    scores, places, moments = rank_videos_and_moments(
        queries,
        mapped,
        index,
        num_videos=case.num_videos,
        alpha=case.alpha,
        spans=case.spans,
    )
    assert_right_videos(scores, places, full, min(case.num_videos, len(corpus)))
    assert_right_moments(moments, case.spans, full.moment_scores, full.moments, places)
    own_moments = rank_moments_in_own_video(mapped, index, own, case.spans)
    assert_right_moments(own_moments, case.spans, full.own_scores, full.own_moments, own[:, None])


def everything(case, corpus, queries, mapped, own):
    """All videos and all their spans, ranked the long way in float64."""
    precise = replace(corpus, features=corpus.features.double())
    return rank_plainly(
        {name: x.double() for name, x in queries.items()},
        {name: x.double() for name, x in mapped.items()},
        PaddedCorpus.of(precise),
        own,
        case.kernels.double(),
        num_videos=len(corpus),
        alpha=case.alpha,
        min_span=case.spans.min_span,
        max_span=case.spans.max_span,
        num_moments=10**9,
    )


def assert_right_videos(scores, places, full, count):
    assert scores.shape == places.shape == (len(full.videos), count)
    for q in range(len(places)):
        assert len(places[q].unique()) == count
    score_of = torch.empty_like(full.video_scores).scatter(1, full.videos, full.video_scores)
    own = score_of.gather(1, places)
    # At each rank stands a video that is as good as the one that belongs there.
    torch.testing.assert_close(own, full.video_scores[:, :count], rtol=0, atol=EQUAL)
    torch.testing.assert_close(scores.double(), own, rtol=0, atol=EQUAL)
    assert (scores[:, 1:] <= scores[:, :-1]).all()


def assert_right_moments(found, spans, scores, moments, places):
    """The best spans of the videos of ``places``, out of all spans of all videos."""
    shape = (len(places), spans.num_moments)
    assert found.scores.shape == found.places.shape == shape
    assert found.spans.shape == (*shape, 2)
    for q in range(len(places)):
        searched = set(places[q].tolist())
        score_of = {
            tuple(moment): score
            for score, moment in zip(scores[q].tolist(), moments[q].tolist(), strict=True)
            if score >= 0 and moment[0] in searched
        }
        count = min(len(score_of), spans.num_moments)
        kept = found.scores[q] >= 0
        assert kept.tolist() == [True] * count + [False] * (spans.num_moments - count)
        assert (found.scores[q][count:] == -1).all()
        videos, ranges = found.places[q][:count, None], found.spans[q][:count]
        items = [tuple(x) for x in torch.cat([videos, ranges], 1).tolist()]
        assert len(set(items)) == count
        own = torch.tensor([score_of[item] for item in items], dtype=torch.float64)
        expected = torch.tensor(sorted(score_of.values(), reverse=True)[:count])
        # Below 1e-25, float32 runs out of numbers.
        close = dict(rtol=1e-5, atol=1e-25)
        torch.testing.assert_close(own, expected.double(), **close)
        torch.testing.assert_close(found.scores[q][:count].double(), own, **close)


@pytest.mark.parametrize('coarse_dtype', COARSE)
@pytest.mark.parametrize('num_queries', [1, 9])
@pytest.mark.parametrize('streams', [BOTH, ONE], ids=len)
@pytest.mark.parametrize('name', CASES)
def test_the_lists_are_those_of_the_long_way(generator, name, streams, num_queries, coarse_dtype):
    assert_right_lists(CASES[name](generator, num_queries), streams, coarse_dtype)


@pytest.mark.parametrize('coarse_dtype', COARSE)
@pytest.mark.parametrize('num_queries', [1, 3])
def test_random_corpora_of_any_size_have_the_lists_of_the_long_way(
    generator, num_queries, coarse_dtype
):
    for _ in range(15):
        draw = torch.randint(1, 30, (5,), generator=generator).tolist()
        lengths = torch.randint(1, draw[1] + 1, (draw[0],), generator=generator).tolist()
        min_span = draw[3] % 4
        case = plain(
            generator,
            num_queries,
            lengths,
            num_videos=draw[2],
            spans=SpanRange(min_span, min_span + 1 + draw[4] % 9, 1 + 3 * draw[3]),
        )
        assert_right_lists(case, BOTH, coarse_dtype)


@pytest.mark.parametrize('width', [4, 20, 24, 33])
@pytest.mark.parametrize('num_queries', [1, 5])
def test_vectors_of_any_width_have_the_right_videos(generator, width, num_queries):
    """Kernels for few bits take many numbers at once."""
    lengths = torch.randint(1, 9, (50,), generator=generator).tolist()
    corpus = corpus_of([torch.randn(n, width, generator=generator) for n in lengths], ONE)
    units = unit(torch.randn(num_queries, width, generator=generator))
    scores, places = scan.best_videos(
        {'video': units}, CorpusIndex(corpus, NO_SPANS, 'bfloat16'), 10
    )
    expected = scan.scan_float32({'video': units}, CorpusIndex(corpus, NO_SPANS, 'float32')).topk(
        10
    )
    torch.testing.assert_close(scores, expected.values, rtol=0, atol=EQUAL)
    assert torch.equal(places, expected.indices)


@pytest.mark.parametrize('coarse_dtype', COARSE)
@pytest.mark.parametrize('name', ['plain', 'near_ties', 'fewer_spans_in_short_videos'])
def test_the_sizes_of_blocks_change_nothing(generator, monkeypatch, name, coarse_dtype):
    monkeypatch.setattr(search, '_QUERIES_AT_ONCE', 4)
    monkeypatch.setattr(scan, '_QUERIES_AT_ONCE', 3)
    monkeypatch.setattr(scan, '_BLOCK', dict(cpu=30))
    monkeypatch.setattr(VideoPairs, 'AT_ONCE', 7)
    assert_right_lists(CASES[name](generator, 9), BOTH, coarse_dtype)


def test_a_last_block_of_one_query_is_ranked_as_the_others(generator, monkeypatch):
    monkeypatch.setattr(search, '_QUERIES_AT_ONCE', 4)
    assert_right_lists(CASES['near_ties'](generator, 5), BOTH, 'bfloat16')


# The long way itself.


def test_the_long_way_is_the_loop_over_all_spans(generator):
    case = plain(generator, 2, [5, 1, 3], num_videos=2, spans=SpanRange(1, 3, 4))
    corpus, queries, mapped = case.by_stream(BOTH)
    own = torch.tensor([2, 1])
    found = rank_plainly(
        queries,
        mapped,
        PaddedCorpus.of(corpus, 7),
        own,
        case.kernels,
        num_videos=2,
        alpha=case.alpha,
        min_span=1,
        max_span=3,
        num_moments=4,
    )
    clips = {name: corpus.stream(name).split([1, 3, 5]) for name in BOTH}
    for q in range(2):
        scores = [
            sum(max(cosine(queries[name][q], c) for c in clips[name][v]) for name in BOTH) / 2
            for v in range(3)
        ]
        videos = sorted(range(3), key=lambda v: -scores[v])[:2]
        assert found.videos[q].tolist() == videos
        torch.testing.assert_close(found.video_scores[q].tolist(), [scores[v] for v in videos])
        spans = {v: spans_by_loop(case, mapped, clips, q, v) for v in range(3)}
        every = [
            (score * float(torch.exp(torch.tensor(case.alpha * scores[v]))), (v, i, j))
            for v in videos
            for score, i, j in spans[v]
        ]
        assert_first(found.moment_scores[q], found.moments[q], every)
        v = int(own[q])
        every = [(score, (v, i, j)) for score, i, j in spans[v]]
        assert_first(found.own_scores[q], found.own_moments[q], every)


def cosine(a, b):
    return float(a @ b / a.norm() / b.norm())


def spans_by_loop(case, mapped, clips, q, v):
    count = len(clips['video'][v])
    similarity = [
        sum(float(mapped[name][q] @ clips[name][v][i]) for name in BOTH) / 2 for i in range(count)
    ]
    start, end = (
        torch.tensor(
            [
                sum(
                    float(kernel[0, t]) * similarity[i + t - 2]
                    for t in range(5)
                    if 0 <= i + t - 2 < count
                )
                for i in range(count)
            ]
        ).softmax(0)
        for kernel in case.kernels
    )
    return [
        (float(start[i] * end[j]), i, j)
        for i, j in product(range(count), repeat=2)
        if 1 <= j - i < 3
    ]


def assert_first(scores, moments, every):
    every = sorted(every, reverse=True)[: len(scores)]
    kept = scores >= 0
    assert [tuple(x) for x in moments[kept].tolist()] == [item for _, item in every]
    torch.testing.assert_close(scores[kept].tolist(), [x for x, _ in every], rtol=1e-4, atol=0)


# Moments.


def test_the_moments_of_a_worked_example_come_in_their_order():
    # Of one query with similarities log p: p_st is p, and p_ed its square, normalized.
    a, b = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.8, 0.2])
    corpus = corpus_of([a.log()[:, None], b.log()[:, None]], ONE)
    kernels = torch.tensor([[[1.0]], [[2.0]]])
    found = rank_moments(
        {'video': torch.ones(1, 1)},
        CorpusIndex(corpus, kernels, 'float32'),
        torch.tensor([[1, 0]]),
        torch.tensor([[1.0, 3.0]]),
        SpanRange(1, 3, 6),
    )
    # p_ed is (0.25, 0.09, 0.04) / 0.38 in the video of three clips, which is the corpus's second,
    # and (0.64, 0.04) / 0.68 in that of two, whose factor is 3.
    expected = [
        (3 * 0.8 * 0.04 / 0.68, 0, [0, 1]),
        (0.5 * 0.09 / 0.38, 1, [0, 1]),
        (0.5 * 0.04 / 0.38, 1, [0, 2]),
        (0.3 * 0.04 / 0.38, 1, [1, 2]),
    ]
    torch.testing.assert_close(found.scores[0, :4].tolist(), [score for score, _, _ in expected])
    assert found.places[0, :4].tolist() == [video for _, video, _ in expected]
    assert found.spans[0, :4].tolist() == [span for _, _, span in expected]
    assert found.scores[0, 4:].tolist() == [-1, -1]


@pytest.mark.parametrize('at_once', [2048, 3])
def test_a_query_whose_videos_are_shorter_than_anothers_has_its_own_moments(
    generator, monkeypatch, at_once
):
    monkeypatch.setattr(VideoPairs, 'AT_ONCE', at_once)
    case = plain(generator, 2, [2, 20, 20], alpha=0.0, spans=SpanRange(1, 2, 60))
    corpus, queries, mapped = case.by_stream(BOTH)
    # The last pair of all is the second query's, which has 20 spans to the first one's 38.
    places = torch.tensor([[1, 2], [0, 2]])
    index = CorpusIndex(corpus, case.kernels, 'float32')
    found = rank_moments(mapped, index, places, torch.ones(2, 2), case.spans)
    full = everything(case, corpus, queries, mapped, places[:, 0])
    assert_right_moments(found, case.spans, full.moment_scores, full.moments, places)


def test_blocks_of_moments_follow_each_other():
    def part(*scores):
        x = torch.tensor(scores)[:, None]
        return RankedMoments(x, x.long(), x.long()[..., None].expand(-1, 1, 2))

    whole = RankedMoments.cat([part(1.0, 2.0), part(3.0)])
    assert whole.scores.flatten().tolist() == [1, 2, 3]
    assert whole.places.flatten().tolist() == [1, 2, 3]
    assert whole.spans[:, 0].tolist() == [[1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize('width', [1, 2, 3, 4, 5, 7, 8, 14, 20])
def test_the_maximum_of_each_window_is_that_of_the_loop(generator, width):
    x = torch.randn(3, 20, generator=generator)
    found = window_maximum(x, width)
    assert found.shape == (3, 21 - width)
    for p in range(3):
        for i in range(21 - width):
            assert float(found[p, i]) == float(x[p, i : i + width].max())


@pytest.mark.parametrize(
    ('min_span', 'max_span'), [(0, 1), (0, 3), (2, 5), (1, 99), (6, 7), (8, 9)]
)
def test_the_best_span_from_each_start_is_that_of_the_loop(generator, min_span, max_span):
    lengths = [8, 1, 5, 3]
    mask = torch.arange(8) < torch.tensor(lengths)[:, None]
    start, end = torch.rand(2, 4, 8, generator=generator)
    end[2, 1] = 0  # a probability of nothing is no missing span
    found = best_span_from_each_start(start, end, mask, SpanRange(min_span, max_span, 1))
    assert found.shape == (4, 8)
    for p, length in enumerate(lengths):
        for i in range(length):
            ends = [float(end[p, j]) for j in range(i + min_span, min(i + max_span, length))]
            expected = float(start[p, i]) * max(ends) if ends else -1
            assert float(found[p, i]) == pytest.approx(expected, rel=1e-6)


# What is computed in float32.


# Operations to the argument that is their first matrix; the second follows.
FIRST_MATRIX = dict(mm=0, mv=0, bmm=0, dot=0, addmm=1, addmv=1, baddbmm=1)


class Products(TorchDispatchMode):
    """Counts the multiplications that products of float32 matrices make."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        first = FIRST_MATRIX.get(func.overloadpacket.__name__)
        if first is not None and args[first].dtype == torch.float32:
            a, b = args[first : first + 2]
            self.count += a.numel() * (b.shape[-1] if b.dim() > 1 else 1)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('num_queries', [1, 16])
def test_most_of_a_corpus_is_scored_in_few_bits_only(generator, num_queries):
    videos = [torch.randn(5, 2 * WIDTH, generator=generator) for _ in range(2000)]
    case = plain(generator, num_queries, videos=videos)
    corpus, queries, _ = case.by_stream(BOTH)
    index = CorpusIndex(corpus, case.kernels, 'bfloat16')
    with Products() as coarse:
        found = scan.best_videos(queries, index, 20)
    with Products() as full:
        expected = scan.best_videos(queries, CorpusIndex(corpus, case.kernels, 'float32'), 20)
    assert full.count == num_queries * 2000 * 5 * 2 * WIDTH
    # Twenty of 2,000 videos are scored in any case.
    assert coarse.count < 0.1 * full.count
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=EQUAL)
    assert torch.equal(found[1], expected[1])


def unit(x):
    return torch.nn.functional.normalize(x, dim=1)
