"""Every loss against a naive version or a number worked by hand."""

import math
import re

import pytest
import torch
from torch.nn.functional import log_softmax

from reloclnet_mm.models.losses import (
    FrameContrastiveLoss,
    RankingLoss,
    SpanLoss,
    VideoContrastiveLoss,
)
from reloclnet_mm.models.losses.ranking import sample_negatives
from reloclnet_mm.registry import MODELS

STREAMS = ('video', 'subtitle')


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


@pytest.fixture
def batch(generator):
    """Similarity of four queries with the clips of their videos of 6, 3, 1 and 5, and the mask."""
    similarity = {name: 3 * torch.randn(4, 6, generator=generator) for name in STREAMS}
    return similarity, torch.arange(6) < torch.tensor([6, 3, 1, 5])[:, None]


@pytest.fixture
def scores(generator):
    """Of four queries and the videos of four."""
    return 3 * torch.randn(4, 4, generator=generator)


def others(size):
    return torch.eye(size).bool()


# Ranking.


@pytest.mark.parametrize(
    ('kind', 'query_loss', 'video_loss'),
    [
        # Rows: 0.1 + 0.5 - 0.9 < 0; 0.1 + 0.8 - 0.3 = 0.6. Columns: 0.1 + 0.8 - 0.9 = 0; 0.3.
        ('hinge', (0 + 0.6) / 2, (0 + 0.3) / 2),
        (
            'lse',
            (math.log1p(math.exp(-0.4)) + math.log1p(math.exp(0.5))) / 2,
            (math.log1p(math.exp(-0.1)) + math.log1p(math.exp(0.2))) / 2,
        ),
    ],
)
def test_the_ranking_loss_of_two_pairs_worked_by_hand(kind, query_loss, video_loss):
    scores = torch.tensor([[0.9, 0.5], [0.8, 0.3]])
    found = RankingLoss(kind=kind, margin=0.1)(scores, others(2))
    torch.testing.assert_close(torch.stack(found), torch.tensor([query_loss, video_loss]))
    weighted = RankingLoss(kind=kind, margin=0.1, query_weight=2.0, video_weight=0.5)
    torch.testing.assert_close(
        torch.stack(weighted(scores, others(2))), torch.tensor([2 * query_loss, 0.5 * video_loss])
    )


def test_negatives_are_drawn_uniformly_from_all_others(generator):
    scores = torch.randn(1, 6, generator=generator).expand(12000, 6)
    excluded = torch.tensor([False, True, False, False, True, False]).expand(12000, 6)
    torch.manual_seed(0)
    counts = sample_negatives(scores, excluded, None).bincount(minlength=6)
    assert counts[[1, 4]].tolist() == [0, 0]
    # Five standard deviations of a binomial of 12,000 draws at 1/4: 237.
    assert (counts[[0, 2, 3, 5]] - 3000).abs().max() < 237


def test_hard_negatives_are_drawn_uniformly_from_the_best_of_the_pool():
    scores = torch.tensor([0.1, 0.9, 0.8, 0.2, 0.7, 0.3]).expand(9000, 6)
    excluded = torch.tensor([False, True, False, False, False, False]).expand(9000, 6)
    torch.manual_seed(0)
    counts = sample_negatives(scores, excluded, 3).bincount(minlength=6)
    assert counts[[0, 1, 3]].tolist() == [0, 0, 0]
    assert (counts[[2, 4, 5]] - 3000).abs().max() < 5 * math.sqrt(9000 * 2 / 9)


def test_a_pool_larger_than_the_batch_is_the_batch():
    torch.manual_seed(0)
    drawn = sample_negatives(torch.rand(500, 3), torch.eye(3).bool().repeat(167, 1)[:500], 20)
    own = torch.arange(500) % 3
    assert set(drawn.tolist()) == {0, 1, 2}
    assert not (drawn == own).any()


def test_other_right_videos_are_negatives_unless_ignored():
    # Queries 0 and 1 share a video; the other query of the video scores best of all.
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    scores = torch.tensor([[0.5, 0.9, 0.2], [0.9, 0.5, 0.2], [0.1, 0.1, 0.6]])
    hard = dict(margin=0.1, pool_size=1)
    by_query, _ = RankingLoss(**hard)(scores, same)
    assert float(by_query) == pytest.approx((0.5 + 0.5 + 0) / 3)
    by_query, by_video = RankingLoss(**hard, other_positives='ignored')(scores, same)
    assert float(by_query) == 0
    assert float(by_video) == 0


def test_a_video_right_for_a_query_need_not_make_its_query_right_for_the_other_video():
    # The video of pair 1 is right for query 0 too, that of pair 0 is wrong for query 1.
    right = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1]]).bool()
    scores = torch.tensor([[0.5, 0.9, 0.3], [0.7, 0.6, 0.1], [0.2, 0.4, 0.8]])
    hard = dict(margin=0.1, pool_size=1, other_positives='ignored')
    by_query, by_video = RankingLoss(**hard)(scores, right)
    # Rows: 0.1 + 0.3 - 0.5 < 0; 0.1 + 0.7 - 0.6; 0.1 + 0.4 - 0.8 < 0.
    assert float(by_query) == pytest.approx(0.2 / 3)
    # Columns: 0.1 + 0.7 - 0.5; of 0.9 and 0.4 only 0.4, 0.1 + 0.4 - 0.6 < 0; 0.1 + 0.3 - 0.8 < 0.
    assert float(by_video) == pytest.approx(0.3 / 3)


def test_pairs_of_one_video_have_no_ranking_loss_when_ignored():
    scores = torch.rand(3, 3, requires_grad=True)
    losses = RankingLoss(kind='lse', other_positives='ignored')(scores, torch.ones(3, 3).bool())
    assert [loss.item() for loss in losses] == [0, 0]
    sum(losses).backward()
    assert torch.equal(scores.grad, torch.zeros(3, 3))


def test_a_batch_of_one_has_no_ranking_loss():
    losses = RankingLoss(kind='lse')(torch.tensor([[0.3]]), others(1))
    assert [float(loss) for loss in losses] == [0, 0]


# Span.


def test_the_span_loss_is_the_two_cross_entropies(generator):
    start, end = (torch.randn(3, 5, generator=generator) for _ in range(2))
    spans = torch.tensor([[0, 4], [2, 2], [1, 3]])
    expected = -sum(
        float(log_softmax(start[b], 0)[i] + log_softmax(end[b], 0)[j])
        for b, (i, j) in enumerate(spans.tolist())
    )
    found = SpanLoss(loss_weight=0.01)(start, end, spans)
    assert float(found) == pytest.approx(0.01 * expected / 3, rel=1e-5)


def test_masked_clips_have_no_part_in_the_span_loss():
    low = torch.finfo(torch.float32).min
    logits = torch.tensor([[0.0, 0.0, low, low]])
    found = SpanLoss(loss_weight=1.0)(logits, logits, torch.tensor([[0, 1]]))
    assert float(found) == pytest.approx(2 * math.log(2), rel=1e-6)


# FrameCL.


def softplus(x):
    return math.log1p(math.exp(x))


def naive_frame_loss(similarity, mask, spans, right=None, other='negative'):
    total = 0.0
    for rows in similarity.values():
        for b in range(len(spans)):
            inside, outside = [], []
            for i in range(int(mask[b].sum())):
                r = float(rows[b, i])
                own = spans[b][0] <= i <= spans[b][1]
                others = right is not None and bool(right[b][i])
                if own or (others and other == 'positive'):
                    inside.append(math.log(2) - softplus(-r))
                elif not (others and other == 'ignored'):
                    outside.append(softplus(-r) + r - math.log(2))
            negative = sum(outside) / len(outside) if outside else 0.0
            total += negative - sum(inside) / len(inside)
    return total / len(spans) / len(similarity)


def test_framecl_equals_the_naive_loop_also_where_a_moment_covers_its_video(batch):
    spans = [[2, 3], [0, 2], [0, 0], [4, 4]]
    found = FrameContrastiveLoss(loss_weight=0.03)(*batch, torch.tensor(spans))
    assert float(found) == pytest.approx(0.03 * naive_frame_loss(*batch, spans), rel=1e-5)


def test_framecl_of_one_stream_is_the_loss_of_that_stream(batch):
    similarity, mask = batch
    one = {'video': similarity['video']}
    spans = [[2, 3], [0, 1], [0, 0], [4, 4]]
    found = FrameContrastiveLoss(loss_weight=1.0)(one, mask, torch.tensor(spans))
    assert float(found) == pytest.approx(naive_frame_loss(one, mask, spans), rel=1e-5)


@pytest.mark.parametrize('other', ['negative', 'ignored', 'positive'])
def test_framecl_with_other_right_moments_equals_the_naive_loop(batch, other):
    spans = [[2, 3], [0, 0], [0, 0], [4, 4]]
    right = torch.zeros(4, 6, dtype=torch.bool)
    right[0, [0, 2, 3, 5]] = True
    right[1, :3] = True
    loss = FrameContrastiveLoss(other_positives=other, loss_weight=1.0)
    found = loss(*batch, torch.tensor(spans), right)
    expected = naive_frame_loss(*batch, spans, right.tolist(), other)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    # Nothing changes where there are no others.
    alone = FrameContrastiveLoss(loss_weight=1.0)(*batch, torch.tensor(spans))
    assert torch.equal(loss(*batch, torch.tensor(spans)), alone)


# VideoCL.


def naive_video_loss(x, right=None, other='negative'):
    size = len(x)
    total = 0.0
    for i in range(size):
        rivals, wanted = 0.0, []
        for j in range(size):
            for score, is_right in (
                (x[i][j], right and right[i][j]),
                (x[j][i], right and right[j][i]),
            ):
                counted_right = i == j or (is_right and other == 'positive')
                wanted += [score] if counted_right else []
                if counted_right or not (is_right and other == 'ignored'):
                    rivals += math.exp(score)
        total += math.log(rivals) - sum(wanted) / len(wanted)
    return total / size


def test_videocl_equals_the_naive_double_loop(scores):
    found = VideoContrastiveLoss(loss_weight=0.03)(scores, others(4))
    assert float(found) == pytest.approx(0.03 * naive_video_loss(scores.tolist()), rel=1e-5)


@pytest.mark.parametrize('other', ['negative', 'ignored', 'positive'])
def test_videocl_with_other_right_videos_equals_the_naive_double_loop(scores, other):
    right = torch.eye(4).bool()
    right[0, 2] = right[2, 0] = right[3, 1] = True
    found = VideoContrastiveLoss(other_positives=other, loss_weight=1.0)(scores, right)
    expected = naive_video_loss(scores.tolist(), right.tolist(), other)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_videocl_of_two_positives_worked_by_hand():
    # All of row and column are positives, each score twice: log 4 - 0 where all scores are 0.
    loss = VideoContrastiveLoss(other_positives='positive', loss_weight=1.0)
    assert float(loss(torch.zeros(2, 2), torch.ones(2, 2).bool())) == pytest.approx(math.log(4))
    scores = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    # Pair 0: log(2e + 2) - (1 + 0 + 1 + 0) / 4. Pair 1: log 4 - 0.
    expected = (math.log(2 * math.e + 2) - 0.5 + math.log(4)) / 2
    assert float(loss(scores, torch.ones(2, 2).bool())) == pytest.approx(expected)


@pytest.mark.parametrize('other', ['negative', 'ignored', 'positive'])
def test_videocl_without_other_right_videos_is_the_papers_whatever_they_count_as(scores, other):
    scores.requires_grad_()
    VideoContrastiveLoss(other_positives=other, loss_weight=1.0)(scores, others(4)).backward()
    found, scores.grad = scores.grad, None
    both = torch.cat([scores, scores.T], 1)
    (both.logsumexp(1) - scores.diagonal()).mean().backward()
    if other == 'negative':
        assert torch.equal(found, scores.grad)
    torch.testing.assert_close(found, scores.grad)


@pytest.mark.parametrize('other', ['negative', 'ignored', 'positive'])
def test_gradients_of_the_contrastive_losses_are_those_of_finite_differences(generator, other):
    right = torch.eye(4).bool()
    right[0, 2] = right[3, 1] = True
    scores = torch.randn(4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    video = VideoContrastiveLoss(other_positives=other, loss_weight=1.0)
    assert torch.autograd.gradcheck(lambda x: video(x, right), scores)
    frame = FrameContrastiveLoss(other_positives=other, loss_weight=1.0)
    spans, mask = torch.tensor([[0, 1], [2, 2], [1, 1], [3, 3]]), torch.ones(4, 4).bool()
    assert torch.autograd.gradcheck(lambda x: frame(dict(video=x), mask, spans, right), scores)


def test_videocl_of_one_pair_is_the_logarithm_of_two():
    found = VideoContrastiveLoss(loss_weight=1.0)(torch.tensor([[0.7]]), others(1))
    assert float(found) == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize(
    'name', ['SpanLoss', 'FrameContrastiveLoss', 'VideoContrastiveLoss', 'RankingLoss']
)
def test_every_loss_is_registered(name):
    assert MODELS.get(f'reloclnet_mm.{name}').__name__ == name


@pytest.mark.parametrize(
    ('loss', 'wrong'),
    [
        (loss, {name: value})
        for loss, names in {
            SpanLoss: ['loss_weight'],
            FrameContrastiveLoss: ['loss_weight'],
            VideoContrastiveLoss: ['loss_weight'],
            RankingLoss: ['margin', 'query_weight', 'video_weight'],
        }.items()
        for name in names
        for value in (math.nan, math.inf, -0.1, '0.1', None)
    ]
    + [(RankingLoss, dict(pool_size=value)) for value in (0, -1, 1.5, '3', math.nan)]
    + [(RankingLoss, dict(kind=value)) for value in ('soft', None)]
    + [(RankingLoss, dict(other_positives=value)) for value in ('positive', True)]
    + [(loss, dict(other_positives=True)) for loss in (VideoContrastiveLoss, FrameContrastiveLoss)],
)
def test_a_setting_that_makes_no_sense_is_refused(loss, wrong):
    ((name, value),) = wrong.items()
    message = re.escape(f'{loss.__name__}: {name} is {value!r}, expected ')
    with pytest.raises(ValueError, match=message):
        loss(**wrong)
