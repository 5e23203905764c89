"""Ranking functions against the naive full computation."""

import pytest
import torch
from torch.nn.functional import conv1d, cosine_similarity

from reloclnet_mm.models.ranking import (
    clip_similarity,
    pair_similarity,
    rank_moments,
    rank_videos,
    similarity_in_videos,
    span_logits,
    span_scores,
    temporal_nms,
    video_scores,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


def masks(lengths, longest):
    return torch.arange(longest) < torch.tensor(lengths)[..., None]


def naive_moments(start, end, mask, weights, min_span, max_span):
    """Every (score, video, i, j) of one query, best first."""
    found = []
    for v in range(len(start)):
        length = int(mask[v].sum())
        for i in range(length):
            for j in range(length):
                if min_span <= j - i < max_span:
                    score = float(start[v, i]) * float(end[v, j]) * float(weights[v])
                    found.append((score, v, i, j))
    return sorted(found, reverse=True)


def draw(generator, kind, shape):
    if kind == 'random':
        return torch.rand(shape, generator=generator)
    if kind == 'ties':
        return torch.randint(1, 3, shape, generator=generator) / 4
    return torch.zeros(shape)


@pytest.mark.parametrize('kind', ['random', 'ties', 'zeros'])
@pytest.mark.parametrize(
    ('min_span', 'max_span', 'num_moments'), [(2, 5, 10), (0, 3, 10), (1, 99, 500), (6, 7, 3)]
)
def test_ranked_moments_equal_the_naive_full_computation(
    generator, kind, min_span, max_span, num_moments
):
    mask = masks([[7, 1, 4], [3, 7, 2]], 7)
    start, end = (draw(generator, kind, (2, 3, 7)) for _ in range(2))
    weights = torch.exp(3 * torch.rand(2, 3, generator=generator))
    best, columns, spans = rank_moments(
        start, end, mask, weights, min_span=min_span, max_span=max_span, num_moments=num_moments
    )
    for q in range(2):
        every = naive_moments(start[q], end[q], mask[q], weights[q], min_span, max_span)
        score_of = {tuple(item): score for score, *item in every}
        kept = best[q] >= 0
        found = [tuple(x) for x in torch.cat([columns[q, :, None], spans[q]], 1)[kept].tolist()]
        assert len(found) == len(set(found)) == min(num_moments, len(every))
        expected = [score for score, *_ in every][: len(found)]
        torch.testing.assert_close(best[q][kept].tolist(), expected, rtol=1e-5, atol=0)
        # Among equal scores any order is right, but each moment must carry its own score.
        own = [score_of[item] for item in found]
        torch.testing.assert_close(own, expected, rtol=1e-5, atol=0)


def test_the_moments_of_a_worked_example_come_in_their_order():
    start = torch.tensor([[[0.5, 0.3, 0.2], [0.8, 0.1, 0.1]]])
    end = torch.tensor([[[0.1, 0.2, 0.7], [0.3, 0.6, 0.1]]])
    mask = torch.tensor([[[True, True, True], [True, True, False]]])
    best, columns, spans = rank_moments(
        start, end, mask, torch.tensor([[1.0, 0.5]]), min_span=1, max_span=3, num_moments=4
    )
    # 0.5·0.7 (video 0, 0 to 2), 0.8·0.6·0.5 (1, 0 to 1), 0.3·0.7 (0, 1 to 2), 0.5·0.2
    torch.testing.assert_close(best, torch.tensor([[0.35, 0.24, 0.21, 0.1]]))
    assert columns.tolist() == [[0, 1, 0, 0]]
    assert spans.tolist() == [[[0, 2], [0, 1], [1, 2], [0, 1]]]


def test_videos_shorter_than_the_shortest_span_leave_no_moment():
    start = torch.rand(2, 3, 2)
    best, columns, spans = rank_moments(
        start,
        start,
        torch.ones(2, 3, 2).bool(),
        torch.ones(2, 3),
        min_span=2,
        max_span=5,
        num_moments=4,
    )
    assert best.shape == columns.shape == (2, 0)
    assert spans.shape == (2, 0, 2)


def test_span_scores_hold_each_allowed_span_once_and_minus_one_elsewhere(generator):
    mask = masks([[6, 3]], 6)
    start, end = (torch.rand(1, 2, 6, generator=generator) for _ in range(2))
    scores = span_scores(start, end, mask, 1, 4)
    assert scores.shape == (1, 2, 3, 6)
    for v, length in enumerate([6, 3]):
        for t in range(3):
            for i in range(6):
                j = i + 1 + t
                expected = float(start[0, v, i] * end[0, v, j]) if j < length else -1.0
                assert float(scores[0, v, t, i]) == expected


def test_the_best_videos_are_those_of_a_full_sort(generator):
    scores = torch.rand(4, 9, generator=generator)
    best, rows = rank_videos(scores, 5)
    expected, order = scores.sort(1, descending=True)
    assert torch.equal(best, expected[:, :5])
    assert torch.equal(rows, order[:, :5])


def test_a_corpus_smaller_than_k_is_ranked_whole(generator):
    scores = torch.rand(4, 3, generator=generator)
    best, rows = rank_videos(scores, 100)
    assert torch.equal(best, scores.sort(1, descending=True).values)
    assert rows.sort(1).values.tolist() == [[0, 1, 2]] * 4


def test_the_similarity_of_a_video_is_that_of_its_best_valid_clip(generator):
    queries = torch.randn(3, 5, generator=generator)
    clips = torch.randn(2, 4, 5, generator=generator)
    found = clip_similarity(queries, clips, masks([4, 2], 4))
    for q in range(3):
        for n, length in enumerate([4, 2]):
            expected = max(float(queries[q] @ clips[n, i]) for i in range(length))
            assert float(found[q, n]) == pytest.approx(expected, abs=1e-6)


def test_a_video_score_is_the_mean_of_the_streams_largest_cosines(generator):
    queries = {name: torch.randn(3, 5, generator=generator) for name in ('video', 'subtitle')}
    clips = {name: torch.randn(2, 4, 5, generator=generator) for name in queries}
    found = video_scores(queries, clips, masks([4, 2], 4))
    for q in range(3):
        for n, length in enumerate([4, 2]):
            best = [
                max(
                    float(cosine_similarity(queries[name][q], clips[name][n, i], dim=0))
                    for i in range(length)
                )
                for name in queries
            ]
            assert float(found[q, n]) == pytest.approx(sum(best) / 2, abs=1e-6)


def test_similarity_in_ranked_videos_is_that_of_each_pair(generator):
    queries = {name: torch.randn(3, 5, generator=generator) for name in ('video', 'subtitle')}
    clips = {name: torch.randn(6, 4, 5, generator=generator) for name in queries}
    rows = torch.tensor([[5, 0], [1, 1], [3, 2]])
    found = similarity_in_videos(queries, clips, rows)
    for v in range(2):
        own = {name: x[rows[:, v]] for name, x in clips.items()}
        torch.testing.assert_close(found[:, v], pair_similarity(queries, own))
    expected = sum(float(queries[name][2] @ clips[name][3, 1]) for name in queries) / 2
    assert float(found[2, 0, 1]) == pytest.approx(expected, abs=1e-5)


def test_span_logits_are_a_convolution_worked_by_hand():
    similarity = torch.tensor([[1.0, 2.0, 4.0, 0.0]])
    mask = torch.tensor([[True, True, True, False]])
    logits = span_logits(similarity, mask, torch.tensor([[[1.0, 10.0, 100.0]]]))
    # [10·1 + 100·2, 1·1 + 10·2 + 100·4, 1·2 + 10·4 + 100·0]
    assert logits[0, :3].tolist() == [210.0, 421.0, 42.0]
    assert logits[0, 3] == torch.finfo(torch.float32).min


def test_span_logits_of_many_videos_are_those_of_each(generator):
    similarity = torch.randn(2, 3, 6, generator=generator)
    kernel = torch.randn(1, 1, 5, generator=generator)
    logits = span_logits(similarity, torch.ones(2, 3, 6).bool(), kernel)
    for q in range(2):
        for v in range(3):
            expected = conv1d(similarity[q, v][None, None], kernel, padding=2)[0, 0]
            torch.testing.assert_close(logits[q, v], expected)


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
