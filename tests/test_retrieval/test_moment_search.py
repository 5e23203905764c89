"""The fast search against the long way, in float64, where either could go wrong."""

from dataclasses import replace
from itertools import combinations, product

import pytest
import torch
from search_cases import CASES, WIDTH, corpus_of, head_of, plain
from torch.utils._python_dispatch import TorchDispatchMode

from reloclnet_mm.profiling.straightforward import PaddedCorpus, rank_plainly
from reloclnet_mm.retrieval import moment_search, video_search
from reloclnet_mm.retrieval.moment_search import (
    MomentSearch,
    RankedMoments,
    SpanRange,
    best_span_from_each_start,
    strided_maxima,
    window_maximum,
)
from reloclnet_mm.retrieval.video_search import ExactVideoSearch
from reloclnet_mm.structures.clips import SPAN_ENDS, moment_to_span
from reloclnet_mm.structures.corpus import map_rows

BOTH, ONE = ('video', 'subtitle'), ('video',)
# Scores that differ by less may come in any order.
EQUAL = 1e-6


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(11)


# Whole lists.


def assert_right_lists(case, streams):
    """VR, VCMR and SVMR are those of the long way in float64."""
    corpus, queries, mapped = case.by_stream(streams)
    own = torch.arange(len(case.queries)) * 7 % len(corpus)
    full = everything(case, corpus, queries, mapped, own)
    scores, places = ExactVideoSearch(corpus).search(queries, case.num_videos)
    assert_right_videos(scores, places, full, min(case.num_videos, len(corpus)))
    search = MomentSearch(corpus, head_of(case.kernels, streams))
    best = full.video_scores[:, :1]
    weights = torch.exp(case.alpha * (scores - best.float()))
    moments = search.rank(mapped, places, weights, case.spans)
    expected = full.moment_scores * torch.exp(-case.alpha * best)
    expected.masked_fill_(full.moment_scores < 0, -1)
    assert_right_moments(moments, case.spans, expected, full.moments, places)
    own_moments = search.rank_in_one_video(mapped, own, case.spans)
    assert_right_moments(own_moments, case.spans, full.own_scores, full.own_moments, own[:, None])


def everything(case, corpus, queries, mapped, own):
    """All videos and all their spans, ranked the long way in float64."""
    precise = replace(corpus, rows=map_rows(corpus.rows, torch.Tensor.double))
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
        span_end=case.spans.span_end,
    )


def assert_right_videos(scores, places, full, count):
    assert scores.shape == places.shape == (len(full.videos), count)
    for q in range(len(places)):
        assert len(places[q].unique()) == count
    score_of = torch.empty_like(full.video_scores).scatter(1, full.videos, full.video_scores)
    own = score_of.gather(1, places)
    # The video at each rank is as good as the expected one.
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


@pytest.mark.parametrize('num_queries', [1, 9])
@pytest.mark.parametrize('streams', [BOTH, ONE], ids=len)
@pytest.mark.parametrize('name', CASES)
def test_the_lists_are_those_of_the_long_way(generator, name, streams, num_queries):
    assert_right_lists(CASES[name](generator, num_queries), streams)


@pytest.mark.parametrize('name', CASES)
def test_the_lists_of_inclusive_spans_are_those_of_the_long_way(generator, name):
    case = CASES[name](generator, 3)
    spans = replace(case.spans, min_span=max(case.spans.min_span, 1), span_end='inclusive')
    assert_right_lists(replace(case, spans=spans), BOTH)


@pytest.mark.parametrize('span_end', SPAN_ENDS)
@pytest.mark.parametrize('num_queries', [1, 3])
def test_random_corpora_of_any_size_have_the_lists_of_the_long_way(
    generator, num_queries, span_end
):
    for _ in range(15):
        draw = torch.randint(1, 30, (5,), generator=generator).tolist()
        lengths = torch.randint(1, draw[1] + 1, (draw[0],), generator=generator).tolist()
        min_span = draw[3] % 4 if span_end == 'official' else 1 + draw[3] % 3
        case = plain(
            generator,
            num_queries,
            lengths,
            num_videos=draw[2],
            spans=SpanRange(min_span, min_span + 1 + draw[4] % 9, 1 + 3 * draw[3], span_end),
        )
        assert_right_lists(case, BOTH)


@pytest.mark.parametrize('width', [4, 20, 24, 33])
@pytest.mark.parametrize('num_queries', [1, 5])
def test_vectors_of_any_width_have_the_right_videos(generator, width, num_queries):
    """Kernels for few bits take many numbers at once."""
    lengths = torch.randint(1, 9, (50,), generator=generator).tolist()
    corpus = corpus_of([torch.randn(n, width, generator=generator) for n in lengths], ONE)
    units = unit(torch.randn(num_queries, width, generator=generator))
    search = ExactVideoSearch(corpus)
    scores, places = search.search({'video': units}, 10)
    expected = search.scores({'video': units}).topk(10)
    torch.testing.assert_close(scores, expected.values, rtol=0, atol=EQUAL)
    assert torch.equal(places, expected.indices)


@pytest.mark.parametrize('name', ['plain', 'near_ties', 'fewer_spans_in_short_videos'])
def test_the_sizes_of_blocks_change_nothing(generator, monkeypatch, name):
    monkeypatch.setattr(video_search, '_QUERIES_AT_ONCE', 3)
    monkeypatch.setattr(video_search, '_ROWS_AT_ONCE', dict(cpu=30))
    monkeypatch.setattr(moment_search, '_PAIRS_AT_ONCE', 7)
    assert_right_lists(CASES[name](generator, 9), BOTH)


# The long way itself.


@pytest.mark.parametrize('span_end', SPAN_ENDS)
def test_the_long_way_is_the_loop_over_all_spans(generator, span_end):
    case = plain(generator, 2, [5, 1, 3], num_videos=2, spans=SpanRange(1, 3, 4, span_end))
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
        span_end=span_end,
    )
    clips = {name: corpus.rows['retrieval'][name].split([1, 3, 5]) for name in BOTH}
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
    if case.spans.span_end == 'inclusive':
        spans = [(i, j) for i, j in product(range(count), range(count + 1)) if 1 <= j - i < 3]
        return [(float(start[i] * end[j - 1]), i, j) for i, j in spans]
    spans = [(i, j) for i, j in product(range(count), repeat=2) if 1 <= j - i < 3]
    # A video of one clip is answered whole.
    return [(float(start[i] * end[j]), i, j) for i, j in spans] or [
        (float(start[0] * end[0]), 0, 1)
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
    found = MomentSearch(corpus, head_of(kernels, ONE)).rank(
        {'video': torch.ones(1, 1)},
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


@pytest.mark.parametrize('num_clips', [1, 2, 7])
def test_every_whole_clip_moment_of_a_video_is_answered_where_its_target_is_predicted(num_clips):
    """The last clip too, which the authors' way never answers."""
    corpus = corpus_of([torch.ones(num_clips, 1)], ONE)
    for first, behind in combinations(range(num_clips + 1), 2):
        target = moment_to_span([2.0 * first, 2.0 * behind], 2.0, num_clips, 'inclusive')
        search = MomentSearch(corpus, PeakAt(*target))
        spans = SpanRange(1, num_clips + 1, 1, 'inclusive')
        found = search.rank_in_one_video({'video': torch.ones(1, 1)}, torch.tensor([0]), spans)
        assert found.spans.tolist() == [[[first, behind]]]
        assert found.scores.item() == pytest.approx(1)


class PeakAt:
    """A span head that is sure of a clip for the start and one for the end."""

    reach = 0

    def __init__(self, start, end):
        self.places = start, end

    def map_queries(self, queries):
        return queries

    def __call__(self, similarity, clip_mask):
        return tuple(
            torch.full(clip_mask.shape, -100.0).index_fill_(1, torch.tensor([place]), 100.0)
            for place in self.places
        )


@pytest.mark.parametrize('at_once', [2048, 3])
def test_a_query_whose_videos_are_shorter_than_anothers_has_its_own_moments(
    generator, monkeypatch, at_once
):
    monkeypatch.setattr(moment_search, '_PAIRS_AT_ONCE', at_once)
    case = plain(generator, 2, [2, 20, 20], alpha=0.0, spans=SpanRange(1, 2, 60))
    corpus, queries, mapped = case.by_stream(BOTH)
    # The last pair of all is the second query's, which has 20 spans to the first one's 38.
    places = torch.tensor([[1, 2], [0, 2]])
    search = MomentSearch(corpus, head_of(case.kernels, BOTH))
    found = search.rank(mapped, places, torch.ones(2, 2), case.spans)
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
@pytest.mark.parametrize('shift', [0, 1])
def test_the_best_span_from_each_start_is_that_of_the_loop(generator, min_span, max_span, shift):
    lengths = torch.tensor([8, 1, 5, 3])
    start, end = torch.rand(2, 4, 8, generator=generator)
    end[2, 1] = 0  # a probability of nothing is no missing span
    end *= torch.arange(8) < lengths[:, None]
    # The end of a span that is longer by one is predicted at the same clip, if it is inclusive.
    spans = SpanRange(min_span + shift, max_span + shift, 1, SPAN_ENDS[shift])
    found = best_span_from_each_start(start, end, lengths, spans)
    assert found.shape == (4, 8)
    for p, length in enumerate(lengths.tolist()):
        for i in range(length):
            ends = [float(end[p, j]) for j in range(i + min_span, min(i + max_span, length))]
            if length <= min_span and i == 0:  # answered whole
                ends = [float(end[p, length - 1])]
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


def test_a_single_query_reads_little_of_a_corpus_in_float32(generator):
    videos = [torch.randn(5, 2 * WIDTH, generator=generator) for _ in range(2000)]
    corpus, queries, _ = plain(generator, 1, videos=videos).by_stream(BOTH)
    search = ExactVideoSearch(corpus)
    with Products() as single:
        scores, places = search.search(queries, 20)
    with Products() as full:
        expected = search.scores({name: unit(x) for name, x in queries.items()}).topk(20)
    assert full.count == 2000 * 5 * 2 * WIDTH
    # Twenty of 2,000 videos are scored in any case.
    assert single.count < 0.1 * full.count
    torch.testing.assert_close(scores, expected.values, rtol=0, atol=EQUAL)
    assert torch.equal(places, expected.indices)


def unit(x):
    return torch.nn.functional.normalize(x, dim=1)


def test_strided_maxima_of_known_numbers():
    x = torch.tensor([[1.0, 5.0, 2.0, 4.0, 0.0], [-1.0, 0.0, 3.0, -1.0, 7.0]])
    assert strided_maxima(x, 3).tolist() == [[4, 5, 2], [-1, 7, 3]]
    assert strided_maxima(x, 5).tolist() == x.tolist()
    assert strided_maxima(x, 6).tolist() == [[*row, -1] for row in x.tolist()]
