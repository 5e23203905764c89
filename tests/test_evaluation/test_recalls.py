"""Recalls by hand, their naive versions, and what chance would reach."""

import itertools
import json
from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from tiny_corpus import tiny_runner

from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.chance import candidate_spans, chance_of_hit, mean_chance
from reloclnet_mm.evaluation.functional import (
    average_precision,
    gains,
    match_moments,
    moment_hits,
    ndcg_at,
    overlaps,
    recall_at,
    stack_worths,
    temporal_iou,
    video_hits,
)
from reloclnet_mm.evaluation.table import Cell, recall_cells, result_table
from reloclnet_mm.registry import METRICS
from reloclnet_mm.structures import CorpusInfo, MomentDataSample


@pytest.mark.parametrize(
    ('a', 'b', 'iou'),
    [
        ([0, 10], [0, 10], 1.0),
        ([0, 10], [5, 15], 1 / 3),
        ([0, 10], [2, 6], 0.4),
        ([0, 4], [4, 8], 0.0),
        ([0, 4], [6, 8], 0.0),
        ([3, 3], [0, 6], 0.0),
        ([3, 3], [3, 3], 0.0),
    ],
)
def test_overlap_worked_by_hand(a, b, iou):
    assert temporal_iou(a, b) == temporal_iou(b, a) == np.float32(iou)


def test_an_absent_moment_overlaps_nothing():
    assert np.isnan(temporal_iou([np.nan, np.nan], [0, 1]))


def hits_in_one_video(moments, truth, ious, *args):
    overlap = overlaps(np.zeros(len(moments)), moments, np.zeros(len(truth)), truth)
    return moment_hits(overlap, ious, *args).tolist()


def test_the_overlap_is_compared_in_float32():
    # 0.7 in float64 is above the float32 quotient 7 / 10, in float32 they are equal.
    assert hits_in_one_video([[0.0, 7.0]], [[0.0, 10.0]], [0.7]) == [[True]]


def test_moments_of_different_videos_and_absent_ones_do_not_overlap():
    nothing = [np.nan, np.nan]
    found = overlaps([8, 7, -1], [[0, 10], [0, 5], nothing], [7, 8, 7], [[0, 10], [0, 10], nothing])
    assert found.tolist() == [[0, 1, 0], [0.5, 0, 0], [0, 0, 0]]


def test_ranked_videos_are_right_where_any_right_moment_is_in_them():
    assert video_hits([4, 7, 9, 7], [7]).tolist() == [[False, True, False, True]]
    assert video_hits([4, 7, 9], [9, 5, 4]).tolist() == [[True, False, True]]
    assert video_hits(np.zeros(0, int), [5]).shape == (1, 0)


def test_a_right_moment_is_in_a_right_video_and_overlaps_enough():
    videos, moments = [8, 7, 7, 7, 3], [[0, 10], [20, 30], [0, 6], [0, 9], [5, 8]]
    overlap = overlaps(videos, moments, [7, 3], [[0, 10], [5, 8]])
    assert moment_hits(overlap, [0.5, 0.7, 0.95]).tolist() == [
        [False, False, True, True, True],
        [False, False, False, True, True],
        [False, False, False, False, True],
    ]


def test_no_predictions_are_worth_nothing():
    overlap = overlaps(np.zeros(0, int), np.zeros((0, 2)), [7], [[0, 10]])
    assert moment_hits(overlap, [0.5, 0.7]).shape == (2, 0)
    assert match_moments(overlap, [0.5, 0.7]).shape == (2, 0)


def test_as_many_annotators_must_agree_as_asked():
    annotated, moments = [[0, 10], [0, 10], [20, 30]], [[20, 30], [0, 10]]
    assert hits_in_one_video(moments, annotated, [0.5], 1) == [[True, True]]
    assert hits_in_one_video(moments, annotated, [0.5], 2) == [[False, True]]
    assert hits_in_one_video(moments, annotated, [0.5], 3) == [[False, False]]


def test_an_annotator_with_two_windows_agrees_once():
    annotated = [[0, 10], [0, 9], [0, 10]]
    assert hits_in_one_video([[0, 10]], annotated, [0.5], 2, [4, 4, 4]) == [[False]]
    assert hits_in_one_video([[0, 10]], annotated, [0.5], 2, [4, 4, 9]) == [[True]]


def test_a_list_shorter_than_k_misses_beyond_its_end():
    ranks = (0, 4, None, 9)
    worths = [np.arange(10 if r is None else r + 1) == r for r in ranks]
    assert [recall_at(stack_worths(worths), k) for k in (1, 5, 10, 100)] == [25.0, 50.0, 75.0, 75.0]


def test_recalls_are_rounded_to_two_decimals_and_nothing_has_none():
    assert recall_at(np.array([[True], [False], [False]]), 1) == 33.33
    assert np.isnan(recall_at(np.zeros((0, 1), bool), 1))


def test_each_right_moment_is_taken_by_one_answer_which_overlaps_it_most():
    moments, truth = [[0, 10], [0, 9], [30, 40], [0, 10]], [[0, 9], [0, 10], [34, 40]]
    overlap = overlaps(np.zeros(4), moments, np.zeros(3), truth)
    assert match_moments(overlap, [0.5, 0.6, 0.95]).tolist() == [
        [1, 0, 2, -1],
        [1, 0, 2, -1],
        [1, 0, -1, -1],
    ]
    assert match_moments(overlap, [0.6], strict=True).tolist() == [[1, 0, -1, -1]]


def naive_matches(overlap, iou):
    free, taken = set(range(overlap.shape[1])), []
    for row in overlap:
        best = max(sorted(free), key=lambda m: row[m], default=None)
        right = best is not None and row[best] >= iou
        taken.append(best if right else -1)
        free -= {best} if right else set()
    return taken


@pytest.mark.parametrize('seed', range(5))
def test_matches_equal_the_naive_walk_down_the_list(seed):
    rng = np.random.default_rng(seed)
    overlap = rng.uniform(size=(12, 6)).astype(np.float32) * rng.integers(0, 2, (12, 6))
    ious = np.array([0.3, 0.5, 0.9], np.float32)
    assert match_moments(overlap, ious).tolist() == [naive_matches(overlap, x) for x in ious]


def test_ndcg_worked_by_hand():
    gain = gains([2, 1, 4], np.array([[1, -1, 0]]))
    assert gain.tolist() == [[1, 0, 3]]
    ideal = gains([2, 1, 4, np.nan])[None]
    assert ideal.tolist() == [[3, 1, 15, 0]]
    best = 15 + 3 / np.log2(3)
    assert ndcg_at(gain, ideal, 2) == pytest.approx(1 / best)
    assert ndcg_at(gain, ideal, 9) == pytest.approx((1 + 3 / 2) / (best + 1 / 2))
    assert ndcg_at(np.zeros((1, 2)), np.zeros((1, 3)), 2).tolist() == [0]


def test_average_precision_worked_by_hand():
    hits = np.array([[False, True, False, True, True]])
    # Precision is 1/2, 2/4, 3/5 at the hits; the best at this or a later one is 3/5.
    assert average_precision(hits, [4]) == pytest.approx(3 * 0.6 / 4)
    assert average_precision(np.array([[True, False, True]]), [2]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.zeros((1, 0), bool), [2]).tolist() == [0]


# Metrics.


def sample(query_id, query_type, video, moment, vr, vcmr, svmr):
    def ranked(items):
        return InstanceData(
            video_ids=torch.tensor([v for v, *_ in items]),
            moments=torch.tensor([m for _, *m in items]).reshape(-1, 2).float(),
            scores=torch.arange(len(items), 0, -1).float(),
        )

    result = MomentDataSample(
        metainfo=dict(
            query_id=query_id, query=f'query {query_id}', query_type=query_type, video_id=video
        ),
        pred_vr=InstanceData(
            video_ids=torch.tensor(vr), scores=torch.arange(len(vr), 0, -1).float()
        ),
        pred_vcmr=ranked(vcmr),
        pred_svmr=ranked(svmr),
    )
    result.gt = InstanceData(
        video_ids=torch.tensor([video]), moments=torch.tensor([moment], dtype=torch.float64)
    )
    return result


@pytest.fixture
def samples():
    return [
        sample(0, 'v', 1, [0, 10], [1, 2], [(2, 0, 10), (1, 0, 8)], [(1, 0, 6), (1, 0, 10)]),
        sample(1, 'v', 2, [0, 10], [1, 2], [(2, 0, 10)], [(2, 0, 10)]),
        sample(2, 't', 2, [5, 9], [1, 2], [], [(2, 0, 1)]),
    ]


def evaluate(config, samples, corpus=None, span_limits=(2, 16)):
    evaluator = Evaluator(METRICS.build(config))
    evaluator.dataset_meta = dict(corpus=corpus, span_limits=span_limits)
    for part in (samples[:2], samples[2:]):
        evaluator.process(part)
    return evaluator.evaluate(len(samples))


def test_video_recalls_by_hand(samples):
    found = evaluate(dict(type='reloclnet_mm.VideoRecall', top_k=(1, 2)), samples)
    assert found == {
        'VR/R1': 33.33,
        'VR/R2': 100.0,
        'VR/v/R1': 50.0,
        'VR/v/R2': 100.0,
        'VR/t/R1': 0.0,
        'VR/t/R2': 100.0,
    }


def test_moment_recalls_by_hand_with_the_sum_of_r1(samples):
    config = dict(type='reloclnet_mm.MomentRecall', top_k=(1, 2), by_type=False)
    assert evaluate(config | dict(task='VCMR'), samples) == {
        'VCMR/R1@0.5': 33.33,
        'VCMR/R2@0.5': 66.67,
        'VCMR/R1@0.7': 33.33,
        'VCMR/R2@0.7': 66.67,
        'VCMR/R1@0.5+0.7': 66.66,
    }
    assert evaluate(config | dict(task='SVMR'), samples) == {
        'SVMR/R1@0.5': 66.67,
        'SVMR/R2@0.5': 66.67,
        'SVMR/R1@0.7': 33.33,
        'SVMR/R2@0.7': 66.67,
        'SVMR/R1@0.5+0.7': 100.0,
    }


def test_moment_recalls_of_each_query_type(samples):
    config = dict(type='reloclnet_mm.MomentRecall', task='VCMR', top_k=(1,), iou_thresholds=(0.5,))
    assert evaluate(config, samples) == {
        'VCMR/R1@0.5': 33.33,
        'VCMR/v/R1@0.5': 50.0,
        'VCMR/t/R1@0.5': 0.0,
    }


def test_a_type_that_all_queries_have_is_not_reported_again(samples):
    for x in samples:
        x.set_metainfo(dict(query_type='v'))
    found = evaluate(dict(type='reloclnet_mm.VideoRecall', top_k=(1,)), samples)
    assert found == {'VR/R1': 33.33}


def test_sumr_is_the_sum_of_the_four_recalls_where_all_are_there(samples):
    found = evaluate(dict(type='reloclnet_mm.VideoRecall', top_k=(100, 1, 5, 10, 50)), samples)
    assert found['VR/SumR'] == 333.33
    assert found['VR/t/SumR'] == 300.0
    found = evaluate(dict(type='reloclnet_mm.VideoRecall', top_k=(1, 5, 10)), samples)
    assert not any('SumR' in name for name in found)


def test_queries_without_a_type_count_overall_only(samples):
    samples[2].set_metainfo(dict(query_type=None))
    config = dict(type='reloclnet_mm.VideoRecall', top_k=(1,))
    assert evaluate(config, samples) == {'VR/R1': 33.33, 'VR/v/R1': 50.0}


def test_a_moment_of_another_video_is_never_right_in_the_querys_own():
    other = sample(0, None, 1, [0, 10], [1], [(2, 0, 10)], [(2, 0, 10), (1, 0, 10)])
    other.gt = InstanceData(
        video_ids=torch.tensor([2, 1]), moments=torch.tensor([[0.0, 10.0], [0.0, 10.0]])
    )
    config = dict(type='reloclnet_mm.MomentRecall', top_k=(1, 2), iou_thresholds=(0.5,))
    assert evaluate(config | dict(task='SVMR'), [other]) == {'SVMR/R1@0.5': 0, 'SVMR/R2@0.5': 100}
    assert evaluate(config | dict(task='VCMR'), [other])['VCMR/R1@0.5'] == 100
    found = evaluate(dict(type='reloclnet_mm.VideoRecall', top_k=(1,)), [other])
    assert found == {'VR/R1': 100}


def test_no_queries_have_no_recall():
    config = dict(type='reloclnet_mm.MomentRecall', task='VCMR', top_k=(1,), iou_thresholds=(0.5,))
    assert np.isnan(METRICS.build(config).compute_metrics([])['R1@0.5'])
    chance = METRICS.build(dict(type='reloclnet_mm.ChanceRecall', top_k=(1,)))
    chance.dataset_meta = dict(corpus=CorpusInfo(('a',), (1,), (3,), (1.0,)), span_limits=(1, 2))
    assert np.isnan(list(chance.compute_metrics([]).values())).all()


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(top_k=()), r'top_k is \(\), expected a list'),
        (dict(top_k=5), 'top_k is 5, expected a list'),
        (dict(top_k=(1, 0)), 'top_k is 0, expected a whole number'),
        (dict(top_k=(1.5,)), 'top_k is 1.5, expected a whole number'),
        (dict(top_k=(True,)), 'top_k is True'),
        (dict(iou_thresholds=()), r'iou_thresholds is \(\), expected a list'),
        (dict(iou_thresholds='0.5'), "iou_thresholds is '0.5', expected a list"),
        (dict(iou_thresholds=(0.5, float('nan'))), 'iou_thresholds is nan'),
        (dict(iou_thresholds=(0.0,)), 'iou_thresholds is 0.0, expected a finite number > 0'),
        (dict(iou_thresholds=(1.1,)), 'iou_thresholds is 1.1'),
        (dict(min_annotators=0), 'min_annotators is 0, expected a whole number'),
        (dict(min_annotators=1.5), 'min_annotators is 1.5'),
    ],
)
@pytest.mark.parametrize('metric', ['MomentRecall', 'ChanceRecall', 'VideoRecall'])
def test_settings_that_make_no_sense_are_refused(metric, wrong, message):
    if metric == 'VideoRecall' and 'top_k' not in wrong:
        wrong, message = dict(top_k=(float('nan'),)), 'top_k is nan'
    task = dict(task='VCMR') if metric == 'MomentRecall' else {}
    with pytest.raises(ValueError, match=f'{metric}: {message}'):
        METRICS.build(dict(type=f'reloclnet_mm.{metric}', **task, **wrong))


@pytest.mark.parametrize(
    'config',
    [
        dict(type='reloclnet_mm.VideoRecall'),
        dict(type='reloclnet_mm.MomentRecall', task='VCMR'),
        dict(type='reloclnet_mm.MomentRecall', task='SVMR'),
        dict(type='reloclnet_mm.ChanceRecall'),
    ],
)
def test_a_query_without_an_answer_cannot_be_measured(samples, config):
    del samples[0].gt
    with pytest.raises(InputError, match=r'query 0 has no answer.*TVRSubmission'):
        evaluate(config, samples)


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="task is 'VR'"):
        METRICS.build(dict(type='reloclnet_mm.MomentRecall', task='VR'))


# Chance.


@pytest.mark.parametrize('num_candidates', [1, 4, 9])
def test_the_chance_of_a_hit_equals_a_count_of_all_orders(num_candidates):
    for num_right in range(num_candidates + 1):
        for top_k in range(1, num_candidates + 3):
            shown = min(top_k, num_candidates)
            sets = itertools.combinations(range(num_candidates), shown)
            hits = sum(any(x < num_right for x in chosen) for chosen in sets)
            expected = hits / comb(num_candidates, shown)
            found = chance_of_hit(num_right, num_candidates, top_k)
            assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ('num_right', 'num_candidates', 'top_k'),
    [(3, 10**6, 100), (1, 10**7, 1), (5, 2 * 10**6, 10), (300, 3 * 10**6, 100), (2, 10**9, 100)],
)
def test_the_chance_of_a_hit_in_a_large_corpus_is_exact(num_right, num_candidates, top_k):
    missed = Fraction(comb(num_candidates - num_right, top_k), comb(num_candidates, top_k))
    found = chance_of_hit(num_right, num_candidates, top_k)
    assert found == pytest.approx(float(1 - missed), rel=1e-6)


def test_the_mean_chance_is_over_all_queries():
    right, total = np.array([1, 0, 3, 1]), np.array([4, 4, 5, 4])
    expected = 100 * np.mean([1 / 2, 0, 1 - 1 / 10, 1 / 2])
    assert mean_chance(right, total, 2) == pytest.approx(expected)


@pytest.mark.parametrize(('min_span', 'max_span'), [(0, 2), (1, 4), (2, 16)])
@pytest.mark.parametrize('num_clips', [1, 2, 5])
def test_candidate_spans_are_all_that_a_model_may_answer(num_clips, min_span, max_span):
    expected = {
        (i, j) for i in range(num_clips) for j in range(num_clips) if min_span <= j - i < max_span
    }
    found = candidate_spans(num_clips, min_span, max_span).tolist()
    # A video too short for any of them is answered whole.
    expected = expected or {(0, num_clips)}
    assert len(found) == len(expected)
    assert set(map(tuple, found)) == expected


@pytest.mark.parametrize(('min_span', 'max_span'), [(1, 2), (1, 4), (2, 16)])
@pytest.mark.parametrize('num_clips', [1, 2, 5])
def test_inclusive_candidates_may_end_with_the_video(num_clips, min_span, max_span):
    expected = {
        (i, j)
        for i in range(num_clips)
        for j in range(num_clips + 1)
        if min_span <= j - i < max_span
    }
    found = candidate_spans(num_clips, min_span, max_span, 'inclusive').tolist()
    expected = expected or {(0, num_clips)}
    assert len(found) == len(expected)
    assert set(map(tuple, found)) == expected


def test_chance_is_worked_by_hand_over_the_spans_that_the_model_answers():
    # In clips of 2 s: [0, 4] and [2, 6] s meet [0, 6] with IoU 2/3, [0, 6] with 1, others less.
    corpus = CorpusInfo(('a', 'b'), (1, 2), (4, 1), (2.0, 2.0))
    query = sample(0, None, 1, [0.0, 6.0], [], [], [])
    config = dict(type='reloclnet_mm.ChanceRecall', top_k=(1,))
    assert evaluate(config, [query], corpus, (1, 4)) == {
        'chance/VR/R1': 50.0,
        'chance/SVMR/R1@0.5': 50.0,
        'chance/SVMR/R1@0.7': 16.67,
        'chance/VCMR/R1@0.5': 42.86,
        'chance/VCMR/R1@0.7': 14.29,
    }
    assert evaluate(config, [query], corpus, (2, 4))['chance/SVMR/R1@0.7'] == 33.33
    # [2, 8] s, up to the end of the video, meets it with 1/2: four of nine spans now.
    found = evaluate(config, [query], corpus, (1, 4, 'inclusive'))
    assert [found[f'chance/SVMR/R1@{iou}'] for iou in (0.5, 0.7)] == [44.44, 11.11]


def test_chance_of_a_model_without_spans_is_told_of_videos_alone():
    chance = METRICS.build(dict(type='reloclnet_mm.ChanceRecall', top_k=(1, 2)))
    corpus = CorpusInfo(('a', 'b', 'c'), (7, 8, 9), (3, 4, 5), (1.0, 1.0, 1.0))
    chance.dataset_meta = dict(corpus=corpus, span_limits=None)
    truth = [(np.array(ids), np.zeros((len(ids), 2)), None) for ids in ([7], [8, 9, 9])]
    found = chance.compute_metrics([dict(truth=x, own=None) for x in truth])
    # One and two of three videos are right: (1/3 + 2/3) / 2 and (2/3 + 1) / 2.
    assert found == {'VR/R1': 50.0, 'VR/R2': 83.33}


def test_chance_counts_right_moments_in_several_videos():
    corpus = CorpusInfo(('a', 'b', 'c'), (1, 2, 3), (2, 2, 2), (1.0, 1.0, 1.0))
    query = sample(0, None, 1, [0.0, 1.0], [], [], [])
    query.gt = InstanceData(
        video_ids=torch.tensor([1, 3]), moments=torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    )
    config = dict(type='reloclnet_mm.ChanceRecall', top_k=(1,), iou_thresholds=(0.5,))
    expected = {
        'chance/VR/R1': 66.67,
        'chance/SVMR/R1@0.5': 100.0,
        'chance/VCMR/R1@0.5': 66.67,
    }
    assert evaluate(config, [query], corpus, (1, 2)) == expected
    query.set_metainfo(dict(video_id=2))
    found = evaluate(config, [query], corpus, (1, 2))
    assert found == expected | {'chance/SVMR/R1@0.5': 0.0}


def test_chance_is_over_the_spans_of_an_overridden_test_cfg(corpus_folder, tmp_path):
    chance = dict(type='ChanceRecall', top_k=(1,), iou_thresholds=(0.5,))
    shipped = tiny_runner(corpus_folder, tmp_path, test_evaluator=[chance]).test()
    limits = {'model.test_cfg.min_span': 0, 'model.test_cfg.max_span': 1}
    empty = tiny_runner(corpus_folder, tmp_path, test_evaluator=[chance], **limits).test()
    assert shipped['chance/SVMR/R1@0.5'] > 0
    # Spans of which the first clip is the last take no time, so that none of them is right.
    assert empty['chance/SVMR/R1@0.5'] == empty['chance/VCMR/R1@0.5'] == 0


def test_chance_without_a_corpus_loop_says_what_to_set(samples):
    metric = METRICS.build(dict(type='reloclnet_mm.ChanceRecall'))
    metric.process(None, [x.to_dict() for x in samples])
    with pytest.raises(InputError, match=r'expected corpus and span_limits.*CorpusTestLoop'):
        metric.evaluate(3)


def test_chance_equals_the_mean_over_simulated_random_rankings():
    rng = np.random.default_rng(0)
    corpus = CorpusInfo(('a', 'b', 'c'), (5, 3, 9), (6, 4, 1), (1.5, 3.0, 1.5))
    answers = [(5, [0.0, 4.0]), (3, [3.0, 9.0])]
    samples = [sample(i, None, v, m, [], [], []) for i, (v, m) in enumerate(answers)]
    config = dict(type='reloclnet_mm.ChanceRecall', top_k=(1, 4))
    found = evaluate(config, samples, corpus, (1, 4))
    spans = [candidate_spans(n, 1, 4) for n in corpus.num_clips]
    seconds = zip(spans, corpus.seconds_per_clip, strict=True)
    moments = np.concatenate([x * length for x, length in seconds])
    videos = np.repeat(corpus.video_ids, [len(x) for x in spans])
    trials = 1000
    hits = dict.fromkeys(found, 0)
    for _, (video, moment) in itertools.product(range(trials), answers):
        order = rng.permutation(len(videos))
        own = order[videos[order] == video]
        ranked_videos = rng.permutation(corpus.video_ids)
        for k in (1, 4):
            hits[f'chance/VR/R{k}'] += video in ranked_videos[:k]
            for task, ranks in (('VCMR', order), ('SVMR', own)):
                shown = ranks[:k]
                overlap = overlaps(videos[shown], moments[shown], [video], [moment])
                for iou, right in zip((0.5, 0.7), moment_hits(overlap, (0.5, 0.7)), strict=True):
                    hits[f'chance/{task}/R{k}@{iou}'] += right.any()
    for name, count in hits.items():
        # 2,000 draws: a standard deviation is at most 1.1 percentage points.
        assert found[name] == pytest.approx(100 * count / (2 * trials), abs=4), name


# The table and the submission.


def test_the_table_has_the_cells_that_metrics_declare_and_other_metrics_below_it():
    configs = [
        dict(type='VideoRecall', top_k=(1, 10)),
        dict(type='MomentRecall', task='SVMR', top_k=(1,)),
        dict(type='MomentRecall', task='VCMR', top_k=(1,), iou_thresholds=(0.5,)),
        dict(type='ChanceRecall', top_k=(1,)),
    ]
    metrics = [METRICS.build(config) for config in configs]
    results = {
        'VR/R1': 12.5,
        'VR/R10': 40.0,
        'VR/v/R1': 99.0,
        'SVMR/R1@0.5': 3.456,
        'SVMR/R1@0.7': 2.0,
        'VCMR/R1@0.5': 1.0,
        'VCMR/R1@0.5+0.7': 77.0,
        'chance/VR/R1': 0.05,
        'chance/VCMR/R1@0.5': 0.004,
        'Recall@Top1': 0.25,
        'proposals': 7,
    }
    cells = [cell for metric in metrics for cell in metric.table_cells()]
    assert result_table(results, cells).splitlines() == [
        '                VR    SVMR IoU 0.5    SVMR IoU 0.7    VCMR IoU 0.5',
        '----  ------------  --------------  --------------  --------------',
        ' R@1  12.50 (0.05)            3.46            2.00     1.00 (0.00)',
        'R@10         40.00',
        'Recall@Top1: 0.2500',
        'proposals: 7',
    ]


def test_the_sum_of_recalls_is_below_them():
    cells = METRICS.build(dict(type='VideoRecall')).table_cells()
    results = {'VR/R1': 1.0, 'VR/R5': 2.0, 'VR/R10': 3.0, 'VR/R100': 4.0, 'VR/SumR': 10.0}
    rows = [line.split() for line in result_table(results, cells).splitlines()[2:]]
    assert rows[-2:] == [['R@100', '4.00'], ['SumR', '10.00']]


def test_cells_with_a_title_are_a_table_of_their_own():
    cells = [
        Cell(1, 'NDCG@20', 'IoU 0.5', 'VCMR/NDCG20@0.5', table='VCMR'),
        Cell(1, 'R@1', 'VCMR IoU 0.5', 'VCMR/R1@0.5'),
    ]
    results = {'VCMR/R1@0.5': 5.0, 'VCMR/NDCG20@0.5': 40.591}
    assert result_table(results, cells).splitlines() == [
        '   VCMR    IoU 0.5',
        '-------  ---------',
        'NDCG@20      40.59',
        '',
        '       VCMR IoU 0.5',
        '---  --------------',
        'R@1            5.00',
    ]


def test_results_that_no_cell_is_for_are_listed_alone():
    assert result_table({'mAP': 0.5}, []) == 'mAP: 0.5000'
    assert result_table({'mAP': 0.5}, recall_cells('VR', 'VR', (1,), (None,))) == 'mAP: 0.5000'


def test_a_metric_with_another_prefix_has_columns_of_its_own():
    config = dict(type='MomentRecall', task='VCMR', prefix='two annotators', top_k=(1,))
    assert METRICS.build(config).table_cells() == [
        Cell(1, 'R@1', 'two annotators IoU 0.5', 'two annotators/R1@0.5'),
        Cell(1, 'R@1', 'two annotators IoU 0.7', 'two annotators/R1@0.7'),
    ]


def submit(samples, path, corpus):
    config = dict(type='reloclnet_mm.TVRSubmission', out_file=str(path))
    assert evaluate(config, samples, corpus) == {}
    return json.loads(path.read_text())


@pytest.fixture
def corpus():
    return CorpusInfo(('a', 'b'), (1, 2), (8, 8), (1.5, 1.5))


def test_a_submission_in_tvrs_format(samples, corpus, tmp_path):
    found = submit(samples, tmp_path / 'new' / 'submission.json', corpus)
    assert set(found) == {'video2idx', 'VR', 'SVMR', 'VCMR'}
    assert found['video2idx'] == dict(a=1, b=2)
    assert found['VR'][0] == dict(
        desc_id=0, desc='query 0', predictions=[[1, 0, 0, 2.0], [2, 0, 0, 1.0]]
    )
    assert found['VCMR'][0]['predictions'] == [[2, 0.0, 10.0, 2.0], [1, 0.0, 8.0, 1.0]]
    assert found['VCMR'][2]['predictions'] == []
    assert [entry['desc_id'] for entry in found['SVMR']] == [0, 1, 2]
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['submission.json']


def test_a_submission_for_a_split_without_answers(samples, corpus, tmp_path):
    for x in samples:
        del x.gt
        del x.pred_svmr
    found = submit(samples, tmp_path / 'submission.json', corpus)
    assert set(found) == {'video2idx', 'VR', 'VCMR'}
    assert len(found['VR']) == len(found['VCMR']) == 3
