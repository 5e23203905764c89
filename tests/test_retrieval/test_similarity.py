"""Scores of videos and clips, and suppression, against naive loops."""

import pytest
import torch
from torch.nn.functional import conv1d, cosine_similarity

from reloclnet_mm.retrieval.similarity import (
    convolution_matrix,
    largest_similarity,
    similarity_in_own_video,
    similarity_of_all,
    span_logits,
    temporal_nms,
    video_scores,
)
from reloclnet_mm.structures.packed_rows import RowLayout

STREAMS = ('video', 'subtitle')
# Three videos of 4, 2 and 3 clips; the second has two rows of padding.
LAYOUT = RowLayout.stack([4, 2, 3], [4, 4, 3])
ROWS = [range(4), range(4, 6), range(8, 11)]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


@pytest.fixture
def encoded(generator):
    """Queries (5, 6) and clips (11, 6) of two streams."""
    return tuple(
        {name: torch.randn(rows, 6, generator=generator) for name in STREAMS} for rows in (5, 11)
    )


def naive_scores(queries, clips, similarity):
    """(5, 3), the mean over streams of the largest similarity over a video's clips."""
    means = []
    for q in range(5):
        for rows in ROWS:
            best = [
                max(float(similarity(queries[name][q], clips[name][i])) for i in rows)
                for name in queries
            ]
            means.append(sum(best) / len(best))
    return torch.tensor(means).view(5, 3)


@pytest.mark.parametrize('streams', [STREAMS, ('video',)])
def test_a_video_score_is_the_mean_of_the_streams_largest_cosines(encoded, streams):
    queries, clips = ({name: x[name] for name in streams} for x in encoded)
    expected = naive_scores(queries, clips, lambda a, b: cosine_similarity(a, b, dim=0))
    torch.testing.assert_close(video_scores(queries, clips, LAYOUT), expected)


def test_a_clip_or_query_of_zeros_has_the_score_zero(encoded):
    queries, clips = encoded
    for name in STREAMS:
        queries[name][2] = 0
        clips[name][4:6] = 0
    scores = video_scores(queries, clips, LAYOUT)
    assert scores[2].tolist() == [0, 0, 0]
    assert scores[:, 1].tolist() == [0] * 5


def test_the_similarity_of_a_video_is_the_mean_of_the_streams_best_valid_clips(encoded):
    queries, clips = encoded
    found = largest_similarity(similarity_of_all(queries, clips), LAYOUT)
    torch.testing.assert_close(found, naive_scores(queries, clips, torch.dot))


def test_similarity_in_own_video_is_that_of_each_pair(encoded):
    queries, clips = encoded
    places = torch.tensor([2, 0, 1, 1, 0])
    rows, mask = LAYOUT.pad(places)
    similarity = similarity_of_all(queries, clips)
    for name in STREAMS:
        found = similarity_in_own_video(similarity[name], rows)
        for b, place in enumerate(places.tolist()):
            expected = [float(queries[name][b] @ clips[name][i]) for i in ROWS[place]]
            torch.testing.assert_close(found[b][mask[b]].tolist(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('size', [1, 3, 5, 9])
@pytest.mark.parametrize('length', [1, 2, 6])
def test_the_convolution_matrix_is_the_convolution(generator, size, length):
    kernels = torch.randn(2, 1, size, generator=generator)
    x = torch.randn(7, length, generator=generator)
    matrix = convolution_matrix(kernels, length)
    assert matrix.shape == (length, 2 * length)
    expected = conv1d(x[:, None], kernels, padding=size // 2)
    torch.testing.assert_close((x @ matrix).view(7, 2, length), expected)


def test_span_logits_are_a_convolution_worked_by_hand():
    similarity = torch.tensor([[1.0, 2.0, 4.0, 0.0]])
    mask = torch.tensor([[True, True, True, False]])
    kernels = torch.tensor([[[1.0, 10.0, 100.0]], [[0.0, 1.0, 0.0]]])
    start, end = span_logits(similarity, mask, convolution_matrix(kernels, 4))
    # [10·1 + 100·2, 1·1 + 10·2 + 100·4, 1·2 + 10·4 + 100·0]
    assert start[0, :3].tolist() == [210.0, 421.0, 42.0]
    assert end[0, :3].tolist() == [1, 2, 4]
    assert start[0, 3] == end[0, 3] == torch.finfo(torch.float32).min


def test_span_logits_of_many_videos_are_those_of_each(generator):
    similarity = torch.randn(6, 7, generator=generator)
    kernels = torch.randn(2, 1, 5, generator=generator)
    logits = span_logits(similarity, torch.ones(6, 7).bool(), convolution_matrix(kernels, 7))
    for p in range(6):
        expected = conv1d(similarity[p][None, None], kernels, padding=2)[0]
        torch.testing.assert_close(torch.stack([side[p] for side in logits]), expected)


def test_the_gradient_of_span_logits_is_that_of_the_convolution(generator):
    similarity = torch.randn(6, 7, generator=generator, requires_grad=True)
    kernels = torch.randn(2, 1, 5, generator=generator, requires_grad=True)
    weight = torch.randn(6, 2, 7, generator=generator)
    logits = torch.stack(
        span_logits(similarity, torch.ones(6, 7).bool(), convolution_matrix(kernels, 7)), 1
    )
    found = torch.autograd.grad((logits * weight).sum(), [similarity, kernels])
    logits = conv1d(similarity[:, None], kernels, padding=2)
    expected = torch.autograd.grad((logits * weight).sum(), [similarity, kernels])
    torch.testing.assert_close(found, expected)


def naive_nms(moments, scores, groups, threshold, num_moments):
    kept = []
    for a in sorted(range(len(scores)), key=lambda i: -scores[i]):
        for b in kept:
            overlap = min(moments[a][1], moments[b][1]) - max(moments[a][0], moments[b][0])
            stretch = max(moments[a][1], moments[b][1]) - min(moments[a][0], moments[b][0])
            if groups[a] == groups[b] and max(overlap, 0) / stretch > threshold:
                break
        else:
            kept.append(a)
    return kept[:num_moments]


@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize('num_moments', [1, 7, 100])
def test_suppression_equals_the_naive_greedy(generator, threshold, num_moments):
    start = torch.randint(0, 20, (60,), generator=generator) * 1.5
    moments = torch.stack([start, start + 1.5 * torch.randint(1, 9, (60,), generator=generator)], 1)
    scores = torch.rand(60, generator=generator)
    groups = torch.randint(0, 3, (60,), generator=generator)
    found = temporal_nms(moments, scores, groups, threshold, num_moments)
    expected = naive_nms(moments.tolist(), scores.tolist(), groups.tolist(), threshold, num_moments)
    assert found.tolist() == expected


def test_suppression_of_equal_scores_keeps_the_first():
    moments = torch.tensor([[0.0, 4.0], [0.0, 4.0], [8.0, 9.0]])
    found = temporal_nms(moments, torch.ones(3), torch.zeros(3), 0.5, 10)
    assert found.tolist() == [0, 2]


def test_an_overlap_of_just_the_threshold_stays():
    moments = torch.tensor([[0.0, 4.0], [2.0, 4.0]])  # IoU 0.5
    assert temporal_nms(moments, torch.tensor([2.0, 1.0]), torch.zeros(2), 0.5, 9).tolist() == [
        0,
        1,
    ]
    assert temporal_nms(moments, torch.tensor([2.0, 1.0]), torch.zeros(2), 0.49, 9).tolist() == [0]


def test_suppression_of_nothing_is_nothing():
    found = temporal_nms(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0), 0.5, 10)
    assert found.tolist() == []
    assert found.dtype == torch.int64


def test_moments_of_no_length_do_not_suppress_each_other():
    moments = torch.tensor([[3.0, 3.0], [3.0, 3.0]])
    assert temporal_nms(moments, torch.ones(2), torch.zeros(2), 0.5, 9).tolist() == [0, 1]
