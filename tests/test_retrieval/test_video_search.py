"""Bounds of what few bits can do to a score, and pairs of queries and videos."""

import math

import pytest
import torch
from search_cases import WIDTH, corpus_of, midpoint_vectors

from reloclnet_mm.retrieval import moment_search
from reloclnet_mm.retrieval.int8_scan import MAX_QUERIES, Int8Rows
from reloclnet_mm.retrieval.moment_search import (
    VideoPairs,
    products_by_video,
    products_of_pairs,
    sort_by_video,
)
from reloclnet_mm.retrieval.similarity import inverse_norm
from reloclnet_mm.retrieval.video_search import ExactVideoSearch

BOTH = ('video', 'subtitle')


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(5)


def random_vectors(generator, count, width):
    return torch.randn(count, width, generator=generator)


def near_parallel(generator, count, width):
    """Products of almost 1, where the spacing of bfloat16 is widest."""
    one = torch.ones(width) + torch.arange(width) / width
    return one + 1e-3 * torch.randn(count, width, generator=generator)


def all_rounded_up(generator, count, width):
    """Signs of one kind, so that the errors of a product add up."""
    return midpoint_vectors(generator, count, width).abs()


def far_apart(generator, count, width):
    """One large element beside small ones, and norms from 1e-3 to 1e4."""
    x = 1e-2 * torch.randn(count, width, generator=generator)
    x[torch.arange(count), torch.randint(width, (count,), generator=generator)] = 1
    return x * 10 ** (7 * torch.rand(count, 1, generator=generator) - 3)


def with_zeros(generator, count, width):
    x = torch.randn(count, width, generator=generator)
    x[::3] = 0
    return x


KINDS = [random_vectors, near_parallel, all_rounded_up, midpoint_vectors, far_apart, with_zeros]
by_kind = pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)


def draw(generator, kind, num_queries, lengths, width=WIDTH):
    """Unit queries of two streams, and a corpus."""
    x = kind(generator, sum(lengths), 2 * width)
    units = {
        name: torch.nn.functional.normalize(kind(generator, num_queries, width), dim=1)
        for name in BOTH
    }
    return units, corpus_of(list(x.split(lengths)), BOTH)


def exact_clips(units, corpus, name):
    """(R, Q) in float64, of the unit vectors."""
    x = torch.nn.functional.normalize(corpus.rows['retrieval'][name].double(), dim=1)
    return x @ units[name].double().T


@by_kind
@pytest.mark.parametrize('width', [16, 64, 384])
def test_scores_from_int8_are_within_their_bound(generator, kind, width):
    units, corpus = draw(generator, kind, 8, [1] * 100 + [4] * 50, width)
    assert Int8Rows.can_read(corpus.rows['retrieval'])
    for name, x in units.items():
        exact = exact_clips(units, corpus, name)
        for q, found in enumerate(Int8Rows(corpus.rows['retrieval'][name]).score(x)):
            assert ((found.values - exact[:, q]).abs() <= found.bound).all()
            # An element is off by half of 1/127 of the largest, at most.
            assert found.bound < math.sqrt(width) / 254 + 3 * 2**-8


@by_kind
def test_scores_from_float32_are_exact_to_its_digits(generator, kind):
    units, corpus = draw(generator, kind, 20, [3, 3, 1, 7])
    largest = [corpus.layout.largest(exact_clips(units, corpus, name)) for name in units]
    expected = torch.stack(largest).mean(0).T
    found = ExactVideoSearch(corpus).scores(units).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@by_kind
@pytest.mark.parametrize('k', [1, 10, 119])
@pytest.mark.parametrize('count', [1, MAX_QUERIES])
def test_the_best_videos_of_few_queries_are_those_of_float32(generator, kind, k, count):
    units, corpus = draw(generator, kind, 6, [1] * 40 + [3] * 40 + [9] * 40, 32)
    search = ExactVideoSearch(corpus)
    for q in range(0, 6, count):
        few = {name: x[q : q + count] for name, x in units.items()}
        scores, places = search.search(few, k)
        every = search.scores(few)
        torch.testing.assert_close(scores, every.topk(k, dim=1).values, rtol=0, atol=1e-6)
        torch.testing.assert_close(every.gather(1, places), scores, rtol=0, atol=1e-6)
        assert all(len(row.unique()) == k for row in places)


@by_kind
def test_the_error_of_int8_rows_is_their_largest_distance(generator, kind):
    x = kind(generator, 9000, 48)  # more than are converted at once
    clips = Int8Rows(x)
    assert clips.values.abs().max() <= 127
    values = clips.values.double() * clips.scales.double()[:, None]
    units = x.double() / x.double().norm(dim=1, keepdim=True).clamp(min=1e-12)
    largest = float((values - units).norm(dim=1).max())
    assert clips.error == pytest.approx(largest, rel=1e-3)
    assert clips.error >= largest - 1e-6


def test_inverse_norms_make_unit_vectors_as_torch_does(generator):
    x = far_apart(generator, 50, 7)
    x[3] = 0
    x[4] = 1e-14
    found = x * inverse_norm(x)[:, None]
    torch.testing.assert_close(found, torch.nn.functional.normalize(x, dim=1))


def test_pairs_are_sorted_by_video_and_come_in_chunks(monkeypatch):
    monkeypatch.setattr(moment_search, '_PAIRS_AT_ONCE', 3)
    places = torch.tensor([[2, 0, 5], [0, 1, 5]])
    wanted = torch.tensor([[True, True, False], [True, True, False]])
    chunks = list(sort_by_video(places, wanted))
    assert [len(pairs.videos) for pairs, _ in chunks] == [3, 1]
    videos = torch.cat([pairs.videos for pairs, _ in chunks]).tolist()
    queries = torch.cat([pairs.queries for pairs, _ in chunks]).tolist()
    columns = torch.cat([columns for _, columns in chunks]).tolist()
    assert list(zip(videos, queries, columns, strict=True)) == [
        (0, 0, 1),
        (0, 1, 0),
        (1, 1, 1),
        (2, 0, 0),
    ]
    assert list(sort_by_video(places, wanted & False)) == []


@pytest.mark.parametrize('num_queries', [1, 4])
def test_products_of_pairs_are_those_of_each(generator, num_queries):
    _, corpus = draw(generator, random_vectors, 1, [5, 2, 9, 1])
    rows, layout = corpus.rows['localization']['video'], corpus.layout
    clips = rows.split(layout.lengths.tolist())
    queries = torch.randn(num_queries, WIDTH, generator=generator)
    videos, asking = (torch.rand(4, num_queries, generator=generator) < 0.8).nonzero(as_tuple=True)
    pairs = VideoPairs(asking, videos)
    length = int(layout.lengths[videos].max())
    for found in (
        products_by_video(queries, clips, pairs, length),
        products_of_pairs(queries, rows, layout, pairs, length),
    ):
        for p, (q, video) in enumerate(zip(asking, videos, strict=True)):
            expected = clips[int(video)] @ queries[q]
            torch.testing.assert_close(found[p][: len(expected)], expected, rtol=1e-5, atol=1e-5)
            assert not found[p][len(expected) :].any()
