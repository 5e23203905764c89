"""ReLoCLNetPlus beside the untrained model that it begins as, and its search beside a loop."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from retrievers import (
    CLIPS,
    EXACT,
    TOKENS,
    ask,
    build,
    build_untrained,
    encode,
    losses_and_gradients,
    small_model,
    untrained_inputs,
)
from tiny_corpus import CHANNELS, packed

from reloclnet_mm.models.residual_encoders import jitter, place_in_video
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.map_search import choose_distinct, rival_sets
from reloclnet_mm.structures import RowLayout
from reloclnet_mm.structures.span_grid import span_iou

CONFIG = 'relocl_plus_anet_text.py'
SAME_WIDTH = dict(subtitle=CHANNELS['query'])


def untrained():
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(small_model(CONFIG, streams=SAME_WIDTH))
    model.init_weights()
    return model.eval()


def without_times(raw):
    return {name: x for name, x in raw.items() if name != 'times'}


def test_untrained_it_ranks_videos_as_the_nearest_clip():
    raw = without_times(untrained_inputs())
    found, expected = (
        ask(model, raw, encode(model, raw))
        for model in (untrained(), build_untrained('nearest_clip_anet_text.py'))
    )
    for a, b in zip(found, expected, strict=True):
        assert a.pred_vr.video_ids.tolist() == b.pred_vr.video_ids.tolist()
        torch.testing.assert_close(a.pred_vr.scores, b.pred_vr.scores, **EXACT)


def test_moments_are_those_of_a_loop_over_spans():
    ranking = dict(alpha=2.0, moment_videos=2)
    model = build(CONFIG, streams=SAME_WIDTH, max_iou=0.6, test_cfg=ranking)
    raw = without_times(untrained_inputs())
    samples = ask(model, raw, encode(model, raw))
    for q, sample in enumerate(samples):
        every = []
        best = sample.pred_vr.scores[0]
        for video_id, score in zip(
            sample.pred_vr.video_ids.tolist()[:2], sample.pred_vr.scores, strict=False
        ):
            weight = float((2.0 * (score - best)).exp())
            every += [(weight * x, video_id, m) for x, m in moments(model, raw, q, video_id - 100)]
        assert_listed(sample.pred_vcmr, every)
        own = [(x, 100 + q, m) for x, m in moments(model, raw, q, q)]
        assert_listed(sample.pred_svmr, own)


def assert_listed(found, every):
    every = distinct(sorted(every, reverse=True))[: len(found.scores)]
    torch.testing.assert_close(found.scores.tolist(), [x[0] for x in every], rtol=1e-4, atol=1e-7)
    listed = list(
        zip(found.scores.tolist(), found.video_ids.tolist(), found.moments.tolist(), strict=True)
    )
    for (score, video_id, moment), (_, expected_id, expected) in zip(listed, every, strict=True):
        equal = [x for x in every if abs(x[0] - score) < 1e-4 * score]
        assert (video_id, tuple(moment)) in [(x[1], x[2]) for x in equal] or (
            video_id,
            tuple(moment),
        ) == (expected_id, expected)


def distinct(every, max_iou=0.6):
    """Leave out moments that overlap a better one of their video by more."""
    kept = []
    for score, video_id, moment in every:
        rivals = [x[2] for x in kept if x[1] == video_id]
        overlaps = span_iou(torch.tensor([moment]), torch.tensor(rivals or [(-2.0, -1.0)]))
        if overlaps.max() <= max_iou:
            kept.append((score, video_id, moment))
    return kept


def moments(model, raw, q, v):
    """Each moment of a query in a video, in seconds, with the probability that it is right."""
    pair = packed({name: x[[q if 'query' in name else v]] for name, x in raw.items()})
    with torch.no_grad():
        encoded = model.encode_pair(pair)
        logits, grid = model._own_logits(encoded)
    spans = [
        (p, s) for p, s in zip(logits[0].softmax(0).tolist(), grid.tolist(), strict=True) if p > 0
    ]
    for _, (first, end) in spans:
        hits = 0
        for p, other in spans:
            iou = float(span_iou(torch.tensor([[first, end]]).float(), torch.tensor([other])))
            hits += p * ((iou >= 0.5) + (iou >= 0.7)) / 2
        yield hits, (first * (1.5 + v), end * (1.5 + v))


def test_a_clip_is_moved_by_a_map_of_the_mean_of_its_video():
    model = untrained()
    video_map = model.context_encoder.streams.subtitle.output.video
    with torch.no_grad():
        video_map.weight.copy_(2 * torch.eye(len(video_map.weight)))
    raw = without_times(untrained_inputs())
    inputs = packed(raw)
    with torch.no_grad():
        rows = model.encode_context(inputs)['retrieval']['subtitle']
    layout = inputs['clips'].layout
    found = dict(zip(inputs['clips'].places.tolist(), range(len(layout)), strict=True))
    units = F.normalize(raw['subtitle'], dim=2)
    for place, video in found.items():
        own = units[video, : int(layout.lengths[place])]
        expected = F.normalize(own + 2 * F.normalize(own.mean(0), dim=0), dim=1)
        first = int(layout.first_rows[place])
        torch.testing.assert_close(rows[first : first + len(own)], expected)


def test_noise_turns_unit_vectors_in_training_alone():
    torch.manual_seed(0)
    x = F.normalize(torch.randn(1000, 64), dim=1)
    assert jitter(x, 0.3, training=False) is x
    turned = jitter(x, 0.3, training=True)
    torch.testing.assert_close(turned.norm(dim=1), torch.ones(1000))
    # Noise of length 0.3 is nearly orthogonal to a vector: the angle has the tangent 0.3.
    cosines = (x * turned).sum(1)
    assert abs(float(cosines.mean()) - 1 / (1 + 0.3**2) ** 0.5) < 0.005


def test_clips_without_features_have_finite_gradients():
    raw = without_times(untrained_inputs())
    raw['subtitle'][:, ::2] = 0
    model = untrained().train()
    losses, gradients = losses_and_gradients(model, packed(raw), [[0, 0]] * 4)
    assert all(torch.isfinite(x) for x in losses.values())
    assert all(x.abs().max() < 1e3 for x in gradients.values())
    assert gradients['context_encoder.streams.subtitle.empty'].any()


def test_a_clip_is_placed_in_its_video():
    found = place_in_video(RowLayout.stack([4, 2], [4, 3]))
    assert found.shape == (7, 12)
    np.testing.assert_allclose(found[:6, 10], [0.125, 0.375, 0.625, 0.875, 0.25, 0.75])
    np.testing.assert_allclose(found[:, 11], [2 / 8] * 4 + [1 / 8] * 3)
    np.testing.assert_allclose(found[0, 0], np.sin(np.pi * 0.125), rtol=1e-6)


def test_an_end_that_is_no_part_of_its_moment_is_refused():
    with pytest.raises(ValueError, match="span_end is 'official', expected 'inclusive'"):
        build(CONFIG, test_cfg=dict(span_end='official'))


def test_longer_queries_than_the_table_are_refused():
    raw = without_times(untrained_inputs(clips=CLIPS, tokens=TOKENS))
    with pytest.raises(ValueError, match='a query of 4 tokens meets a position table of 3'):
        build(CONFIG, streams=SAME_WIDTH, max_tokens=3)(packed(raw))


def test_spans_are_chosen_from_the_best_on_where_none_chosen_excludes_them():
    # Spans 0 and 1 exclude each other, as do 1 and 2; nothing is below 0 but what is no span.
    rivals = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).bool()
    scores = torch.tensor([[3.0, 4.0, 2.0, 1.0], [4.0, 3.0, 2.0, -1.0], [-1.0] * 4])
    best, spans = choose_distinct(scores, rival_sets(rivals), 3)
    assert best.tolist() == [[4, 1, -1], [4, 2, -1], [-1, -1, -1]]
    assert spans.tolist() == [[1, 3, 0], [0, 2, 0], [0, 0, 0]]
    best, spans = choose_distinct(scores, rival_sets(rivals), 1)
    assert spans.tolist() == [[1], [0], [0]]
