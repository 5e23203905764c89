"""Bounds of what few bits can do to a score."""

import math

import pytest
import torch
from reloclnet_mm.retrieval.index import (
    CorpusIndex,
    inverse_norm,
    multiplies_bfloat16,
    to_bfloat16,
    to_int8,
)
from search_cases import WIDTH, corpus_of, midpoint_vectors

from reloclnet_mm.retrieval import video_search as scan
from reloclnet_mm.retrieval.pairs import VideoPairs, pair_products
from reloclnet_mm.retrieval.similarity import convolution_matrix

BOTH = ('video', 'subtitle')
KERNELS = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(1))


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
    """Unit queries of two streams, and an index of videos."""
    x = kind(generator, sum(lengths), 2 * width)
    index = CorpusIndex(corpus_of(list(x.split(lengths)), BOTH), KERNELS, 'bfloat16')
    units = {
        name: torch.nn.functional.normalize(kind(generator, num_queries, width), dim=1)
        for name in BOTH
    }
    return units, index


def exact_clips(units, index, name):
    """(R, Q) in float64, of the unit vectors."""
    x = torch.nn.functional.normalize(index.streams[name].double(), dim=1)
    return x @ units[name].double().T


def exact_videos(units, index):
    """(Q, N) in float64."""
    return (
        torch.stack(
            [index.corpus.layout.largest(exact_clips(units, index, name)) for name in units]
        )
        .mean(0)
        .T
    )


# The bounds.


@by_kind
@pytest.mark.parametrize('width', [16, 64, 384])
def test_scores_from_bfloat16_are_within_their_bound(generator, kind, width):
    units, index = draw(generator, kind, 32, [1] * 100 + [4] * 50, width)
    scores, bound = scan.scan_bfloat16(units, index)
    assert scores.shape == bound.shape == (32, 150)
    assert ((scores - scan.scan_float32(units, index)).abs() <= bound).all()
    assert ((scores - exact_videos(units, index)).abs() <= bound).all()
    # Half a step of a unit vector, of a query and of a score: a bound that is of use.
    assert bound.max() < 3.1 * 2**-8


@by_kind
@pytest.mark.parametrize('width', [16, 64, 384])
def test_scores_from_int8_are_within_their_bound(generator, kind, width):
    units, index = draw(generator, kind, 8, [1] * 100 + [4] * 50, width)
    layout = index.corpus.layout
    for name, x in units.items():
        exact = exact_clips(units, index, name)
        for q in range(8):
            found = scan._scan_int8(x[q : q + 1], index, name)
            assert ((found.scores - exact[:, q]).abs() <= found.bound).all()
            difference = found.largest - layout.largest(exact[:, q : q + 1])[:, 0]
            assert (difference.abs() <= found.bound).all()
            # An element is off by half of 1/127 of the largest, at most.
            assert found.bound.max() < math.sqrt(width) / 254 + 3 * 2**-8


@by_kind
def test_scores_from_float32_are_exact_to_its_digits(generator, kind):
    units, index = draw(generator, kind, 20, [3, 3, 1, 7])
    found = scan.scan_float32(units, index).double()
    torch.testing.assert_close(found, exact_videos(units, index), rtol=0, atol=1e-6)


def test_the_bound_of_a_product_is_that_of_its_vectors_worked_by_hand():
    # Both vectors are off by 0.1 in their own direction: 1.1 · 1.1 = 1 + 0.21.
    clips = to_bfloat16(torch.ones(1, 1), torch.ones(1))
    clips = type(clips)(clips.values, None, 0.1)
    found = scan.product_bound(torch.ones(1, 1), torch.tensor([[1.1]]), clips)
    assert float(found) == pytest.approx(0.21, abs=1e-5)
    assert float(found) > 0.21


@pytest.mark.parametrize('scale', [1.0, 1e-3, 300.0])
def test_numbers_are_within_the_bound_of_their_rounding(generator, scale):
    x = scale * torch.randn(10000, generator=generator)
    between = (1 + torch.arange(128) / 128 + 1 / 256) * scale
    for y in (x, between, between * (1 + 1e-6), between * (1 - 1e-6)):
        rounded = y.bfloat16().float()
        assert ((rounded - y).abs() <= scan.rounding_bound(rounded)).all()


def test_no_video_of_the_best_is_lost(generator):
    """Scores, and errors up to the bound, in 1/1024: float32 adds them exactly."""
    for _ in range(400):
        size, top = (int(x) for x in torch.randint(1, 40, (2,), generator=generator))
        top, spread = min(size, top), int(torch.randint(1, 400, (), generator=generator))
        exact = torch.randint(-spread, spread, (3, size), generator=generator)
        bound = torch.randint(0, 60, (3, size), generator=generator)
        share = torch.randint(-4, 5, (3, size), generator=generator)
        error = bound * share // 4 if spread % 2 else bound * share.sign()
        kept = scan.may_be_among_best((exact + error) / 1024, bound / 1024, top)
        best = exact >= exact.topk(top, dim=1).values[:, -1:]
        assert (kept | ~best).all()


def test_what_cannot_be_among_the_best_is_left_out():
    scores = torch.tensor([[0.9, 0.5, 0.75, 0.1]])
    bound = torch.full_like(scores, 0.1)
    # Of two, the second has at least 0.65.
    assert scan.may_be_among_best(scores, bound, 2).tolist() == [[True, False, True, False]]
    bound = torch.full_like(scores, 0.13)
    assert scan.may_be_among_best(scores, bound, 2).tolist() == [[True, True, True, False]]


# Few bits.


@by_kind
@pytest.mark.parametrize('convert', [to_bfloat16, to_int8])
def test_the_error_of_coarse_clips_is_their_largest_distance(generator, kind, convert):
    x = kind(generator, 9000, 48)  # more than are converted at once
    clips = convert(x, inverse_norm(x))
    values = clips.values[:, :48].double()
    if clips.scales is not None:
        assert clips.values.abs().max() <= 127
        values = values * clips.scales.double()[:, None]
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


@pytest.mark.parametrize('capable', [True, False])
def test_bfloat16_is_chosen_where_a_cpu_multiplies_in_it(generator, monkeypatch, capable):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(avx512_bf16=capable))
    _, index = draw(generator, random_vectors, 1, [2, 1])
    assert CorpusIndex(index.corpus, KERNELS).coarse_dtype == ('bfloat16' if capable else 'float32')
    assert CorpusIndex(index.corpus, KERNELS, 'bfloat16').coarse_dtype == 'bfloat16'
    assert not multiplies_bfloat16(torch.device('cuda'))


@pytest.mark.parametrize('length', [1, 2, 4, 9])
def test_an_index_has_the_convolutions_of_any_length(generator, length):
    _, index = draw(generator, random_vectors, 1, [5, 2, 9, 1])
    assert torch.equal(index.convolutions(length), convolution_matrix(KERNELS, length))


# Pairs.


def test_pairs_are_sorted_by_video_and_come_in_chunks(monkeypatch):
    chosen = torch.tensor([[True, False, True], [True, True, False]])
    pairs = VideoPairs.where(chosen)
    assert pairs.videos.tolist() == [0, 0, 1, 2]
    assert pairs.queries.tolist() == [0, 1, 1, 0]
    monkeypatch.setattr(VideoPairs, 'AT_ONCE', 3)
    chunks = list(pairs.chunks())
    assert [len(chunk) for chunk in chunks] == [3, 1]
    assert torch.cat([chunk.videos for chunk in chunks]).tolist() == [0, 0, 1, 2]
    assert list(VideoPairs.where(chosen & False).chunks()) == []


@pytest.mark.parametrize('num_queries', [1, 4])
def test_products_of_pairs_are_those_of_each(generator, num_queries):
    _, index = draw(generator, random_vectors, 1, [5, 2, 9, 1])
    queries = torch.randn(num_queries, 2 * WIDTH, generator=generator)
    pairs = VideoPairs.where(torch.rand(num_queries, 4, generator=generator) < 0.8)
    rows, mask = pairs.rows(index.corpus.layout)
    found = pair_products(queries, index.clips_of_videos, pairs, rows.shape[1])
    for p, (q, video) in enumerate(zip(pairs.queries, pairs.videos, strict=True)):
        expected = index.clips_of_videos[int(video)] @ queries[q]
        torch.testing.assert_close(found[p][mask[p]], expected, rtol=1e-5, atol=1e-5)
        assert not found[p][~mask[p]].any()


def test_scores_of_pairs_are_those_of_the_whole_scan(generator):
    units, index = draw(generator, random_vectors, 6, [5, 2, 9, 1])
    pairs = VideoPairs.where(torch.rand(6, 4, generator=generator) < 0.5)
    found = scan.score_pairs(units, index, pairs)
    expected = scan.scan_float32(units, index)[pairs.queries, pairs.videos]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    none = VideoPairs.where(torch.zeros(6, 4, dtype=torch.bool))
    assert scan.score_pairs(units, index, none).shape == (0,)
