"""The distribution over spans, against loops."""

import math

import pytest
import torch

from reloclnet_mm.models.losses import BatchSoftmaxLoss, SpanMapLoss
from reloclnet_mm.models.span_maps import SpanMapHead
from reloclnet_mm.structures.span_grid import span_grid

WIDTH, LENGTHS = 6, [5, 3]


@pytest.fixture
def head():
    torch.manual_seed(0)
    return SpanMapHead(streams=('a', 'b'), embed_dims=WIDTH, rank=2).eval()


@pytest.fixture
def pairs():
    torch.manual_seed(1)
    clips = {name: torch.randn(2, 5, WIDTH) for name in ('a', 'b')}
    return torch.randn(2, WIDTH), clips, torch.rand(2, 5) * 0.2, torch.tensor(LENGTHS)


def looped(head, query, clips, similarity, length, i, j):
    """The logit of clips i to j − 1, as the docstring of the head says."""
    weights = [math.exp(float(head.log_scale.exp() * x)) for x in similarity[:length]]
    content = math.log(sum(weights[i:j]) / sum(weights) / (j - i))
    mean, deviation = head.length_prior.tolist()
    share = math.log((j - i) / length)
    prior = -(((share - mean) / deviation) ** 2) / 2 - share
    total = head.part_weights[0] * content + head.part_weights[1] * prior

    def product(linear, place, k):
        parts = [linear[name](query).view(-1, WIDTH)[k] @ clips[name][place] for name in ('a', 'b')]
        return sum(parts) / len(parts) / math.sqrt(WIDTH)

    total += sum(product(head.starts, c, 0) for c in range(i, j)) / (j - i)
    total += product(head.starts, i, 1) + product(head.ends, j - 1, 0)
    return total + sum(
        product(head.starts, i, 2 + r) * product(head.ends, j - 1, 1 + r) for r in range(2)
    )


def test_logits_are_those_of_a_loop_over_spans(head, pairs):
    queries, clips, similarity, lengths = pairs
    grid = span_grid(5, 1, 4)
    with torch.no_grad():
        found = head(queries, clips, similarity, lengths, grid, 1)
        for p in range(2):
            own = {name: x[p] for name, x in clips.items()}
            for s, (i, j) in enumerate(grid.tolist()):
                if j > LENGTHS[p]:
                    assert found[p, s] == float('-inf')
                    continue
                expected = looped(head, queries[p], own, similarity[p], LENGTHS[p], i, j)
                torch.testing.assert_close(found[p, s], expected, rtol=1e-5, atol=1e-5)


def test_untrained_the_most_similar_clip_and_the_usual_length_decide(head, pairs):
    queries, clips, _, _ = pairs
    head.init_weights()
    head.length_prior.copy_(torch.tensor([math.log(0.3), 0.1]))
    similarity = torch.full((1, 20), 0.1)
    similarity[0, 12] = 0.9
    one = {name: torch.randn(1, 20, WIDTH) for name in clips}
    grid = span_grid(20, 1, 20)
    with torch.no_grad():
        logits = head(queries[:1], one, similarity, torch.tensor([20]), grid, 1)
    first, end = grid[logits[0].argmax()].tolist()
    # The density of a share falls by the share itself: a little less than 6 clips.
    assert first <= 12 < end
    assert end - first in (5, 6)


def test_the_loss_is_the_probability_of_spans_that_are_right():
    grid = torch.tensor([[0, 4], [0, 3], [2, 4], [0, 1]])
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    # IoU with (0, 4): 1, 0.75, 0.5 and 0.25.
    p = logits.softmax(1)[0]
    expected = -(p[:3].sum().log() + p[:2].sum().log())
    found = SpanMapLoss()(logits, grid, torch.tensor([[0.0, 4.0]]))
    torch.testing.assert_close(found, expected)


def test_where_no_span_is_right_the_best_is_asked_for():
    grid = torch.tensor([[0, 4], [0, 2], [8, 9]])
    logits = torch.tensor([[0.1, 0.2, float('-inf')]], requires_grad=True)
    # A moment of a tenth of a clip: IoU 0.025 and 0.05, and the last span is none of the video.
    loss = SpanMapLoss(loss_weight=0.5)(logits, grid, torch.tensor([[1.0, 1.1]]))
    torch.testing.assert_close(loss, -logits.softmax(1)[0, 1].log())
    loss.backward()
    assert torch.isfinite(logits.grad).all()


def test_ranking_is_a_cross_entropy_in_both_directions():
    torch.manual_seed(0)
    scores = torch.rand(4, 4)
    # Pairs 0 and 2 are of one recording.
    sources = torch.tensor([5, 6, 5, 7])
    right = sources[:, None] == sources
    loss = BatchSoftmaxLoss(scale=3.0, query_weight=2.0, video_weight=1.0)
    by_query, by_video = loss(scores, right, sources)
    powers = (3 * scores).exp()
    queries, videos = [], []
    for i in range(4):
        others = [j for j in range(4) if not right[i, j]]
        # The two videos of a recording count half each.
        total = powers[i, i] + sum(powers[i, j] / right[j].sum() for j in others)
        queries.append(-(powers[i, i] / total).log())
        total = powers[i, i] + sum(powers[j, i] for j in others)
        videos.append(-(powers[i, i] / total).log())
    torch.testing.assert_close(by_query, 2 * torch.stack(queries).mean())
    torch.testing.assert_close(by_video, torch.stack(videos).mean())
