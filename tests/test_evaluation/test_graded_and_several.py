"""Metrics of queries with several right moments: NDCG and QVHighlights' mAP."""

import math

import numpy as np
import pytest
from mmengine.evaluator import Evaluator

from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.table import result_table
from reloclnet_mm.registry import METRICS

QV = dict(type='reloclnet_mm.QVHighlightsMetric')
NDCG = dict(type='reloclnet_mm.RankingNDCG')


def answers(*items):
    """(video, start, end) as moments."""
    rows = np.array(items, np.float64).reshape(-1, 3)
    return dict(video_ids=rows[:, 0].astype(int), moments=rows[:, 1:])


def query(truth, found, task='svmr', **gt):
    return {
        'query_id': 7,
        'video_id': 1,
        'gt': answers(*truth) | {name: np.array(x) for name, x in gt.items()},
        f'pred_{task}': answers(*found),
    }


def evaluate(config, samples):
    metric = METRICS.build(config)
    metric.process(None, samples)
    return metric.evaluate(len(samples))


# QVHighlights.

WINDOWS = [(1, 0, 10), (1, 20, 50), (1, 60, 100)]
# IoU 1 with the long window, 0.5 with the short one, 28 / 30 with the middle one.
FOUND = [(1, 60, 100), (1, 0, 5), (1, 22, 50)]


def test_qvhighlights_metrics_worked_by_hand():
    found = evaluate(QV, [query(WINDOWS, FOUND), query([(1, 0, 40)], [])])
    # AP of the first query: 1 at 0.5; (1 + 2/3) / 3 from 0.55 to 0.9; 1/3 at 0.95.
    assert found == {
        'SVMR/full/mAP': round(100 * (1 + 8 * 5 / 9 + 1 / 3) / 10 / 2, 2),
        'SVMR/full/mAP@0.5': 50.0,
        'SVMR/full/mAP@0.75': round(100 * 5 / 9 / 2, 2),
        'SVMR/full/R1@0.5': 50.0,
        'SVMR/full/R1@0.7': 50.0,
        # Rank 2, at 0.5 alone.
        'SVMR/short/mAP': 5.0,
        'SVMR/short/mAP@0.5': 50.0,
        'SVMR/short/mAP@0.75': 0.0,
        'SVMR/short/R1@0.5': 0.0,
        'SVMR/short/R1@0.7': 0.0,
        # Rank 3, up to 0.9.
        'SVMR/middle/mAP': 30.0,
        'SVMR/middle/mAP@0.5': 33.33,
        'SVMR/middle/mAP@0.75': 33.33,
        'SVMR/middle/R1@0.5': 0.0,
        'SVMR/middle/R1@0.7': 0.0,
        # Both queries have a long window.
        'SVMR/long/mAP': 50.0,
        'SVMR/long/mAP@0.5': 50.0,
        'SVMR/long/mAP@0.75': 50.0,
        'SVMR/long/R1@0.5': 50.0,
        'SVMR/long/R1@0.7': 50.0,
    }


def test_only_the_first_predictions_count():
    found = [(1, 90, 95)] * 9 + FOUND
    assert evaluate(QV, [query(WINDOWS, found)])['SVMR/full/mAP@0.5'] == round(100 / 10 / 3, 2)
    settings = dict(max_predictions=9)
    assert evaluate(QV | settings, [query(WINDOWS, found)])['SVMR/full/mAP@0.5'] == 0


def test_windows_of_another_video_are_right_in_the_corpus_only():
    windows, found = [(1, 0, 20), (2, 0, 20)], [(2, 0, 20), (1, 0, 20)]
    svmr = evaluate(QV, [query(windows, found)])
    vcmr = evaluate(QV | dict(task='VCMR'), [query(windows, found, 'vcmr')])
    assert (svmr['SVMR/full/mAP'], svmr['SVMR/full/R1@0.5']) == (50.0, 0.0)
    assert (vcmr['VCMR/full/mAP'], vcmr['VCMR/full/R1@0.5']) == (100.0, 100.0)


def test_a_range_without_windows_has_no_number():
    found = evaluate(QV, [query([(1, 0, 5)], [(1, 0, 5)])])
    assert found['SVMR/short/mAP'] == 100.0
    assert np.isnan(found['SVMR/long/mAP'])
    assert np.isnan(METRICS.build(QV).compute_metrics([])['full/mAP'])


def iou_of(a, b):
    overlap = max(0.0, min(a[2], b[2]) - max(a[1], b[1]))
    return overlap / (max(a[2], b[2]) - min(a[1], b[1])) if a[0] == b[0] else 0.0


def walk(windows, found, reaches):
    """Index of the free window that each prediction takes, None for none."""
    free, taken = list(range(len(windows))), []
    for moment in found:
        best = max(free, key=lambda m: iou_of(moment, windows[m]), default=None)
        right = best is not None and reaches(iou_of(moment, windows[best]))
        taken.append(best if right else None)
        if right:
            free.remove(best)
    return taken


def naive_ap(windows, found, iou):
    """Area below the interpolated curve of precision over recall, point by point."""
    hits = [x is not None for x in walk(windows, found[:10], lambda x: x >= iou)]
    curve = [
        (sum(hits[: k + 1]) / len(windows), sum(hits[: k + 1]) / (k + 1)) for k in range(len(hits))
    ]
    area, before = 0.0, 0.0
    for recall, _ in curve:
        area += (recall - before) * max(p for r, p in curve if r >= recall)
        before = recall
    return area


def random_moments(rng, count, videos=1):
    start = rng.uniform(0, 60, count)
    length = rng.choice([4.0, 8.0, 20.0, 29.0, 60.0], count) * rng.uniform(0.8, 1.0, count)
    video = rng.integers(1, videos + 1, count)
    return [(int(v), s, s + n) for v, s, n in zip(video, start, length, strict=True)]


@pytest.mark.parametrize('seed', range(3))
def test_qvhighlights_metrics_equal_a_naive_loop(seed):
    rng = np.random.default_rng(seed)
    queries = []
    for _ in range(15):
        windows = random_moments(rng, rng.integers(1, 5))
        near = [(v, s + rng.normal(0, 1), e + rng.normal(0, 1)) for v, s, e in windows]
        found = near + random_moments(rng, rng.integers(0, 12))
        queries.append((windows, [found[i] for i in rng.permutation(len(found))]))
    results = evaluate(QV, [query(*pair) for pair in queries])
    ious = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    ranges = dict(full=(-1, 1e9), short=(0, 10), middle=(10, 30), long=(30, 150))
    for name, (low, high) in ranges.items():
        kept = [([w for w in ws if low < w[2] - w[1] <= high], found) for ws, found in queries]
        kept = [(ws, found) for ws, found in kept if ws]
        means = {iou: np.mean([naive_ap(*pair, iou) for pair in kept]) for iou in ious}
        first = [max(iou_of(found[0], w) for w in ws) for ws, found in kept]
        expected = dict(mAP=np.mean(list(means.values())))
        expected |= {f'mAP@{iou}': means[iou] for iou in (0.5, 0.75)}
        expected |= {f'R1@{iou}': np.mean([x >= iou for x in first]) for iou in (0.5, 0.7)}
        for key, x in expected.items():
            assert results[f'SVMR/{name}/{key}'] == pytest.approx(100 * x, abs=0.0051), (name, key)


# NDCG.


def test_ndcg_of_a_list_worked_by_hand():
    truth = [(1, 0, 10), (2, 0, 10), (2, 50, 60)]
    # IoU 0.5 with the moment of relevance 4, which is not above 0.5; 0.9; 1.
    found = [(2, 0, 5), (1, 0, 9), (2, 0, 10)]
    sample = query(truth, found, 'vcmr', relevance=[2.0, 4.0, 1.0])
    results = evaluate(NDCG | dict(top_k=(2, 3), iou_thresholds=(0.3, 0.5)), [sample])
    third = 1 / math.log2(3)
    best = dict(zip((2, 3), (15 + 3 * third, 15 + 3 * third + 1 / 2), strict=True))
    assert results == {
        'VCMR/NDCG2@0.3': pytest.approx(100.0),
        'VCMR/NDCG3@0.3': pytest.approx(100 * best[2] / best[3]),
        'VCMR/NDCG2@0.5': pytest.approx(100 * 3 * third / best[2]),
        'VCMR/NDCG3@0.5': pytest.approx(100 * (3 * third + 15 / 2) / best[3]),
    }


@pytest.mark.parametrize('seed', range(3))
def test_ndcg_equals_a_naive_loop(seed):
    rng = np.random.default_rng(seed)
    samples, scores = [], {(k, iou): [] for k in (1, 5, 20) for iou in (0.3, 0.7)}
    for _ in range(12):
        truth = random_moments(rng, rng.integers(1, 8), videos=3)
        relevance = rng.integers(1, 5, len(truth)).astype(float)
        near = [(v, s + rng.normal(0, 1), e + rng.normal(0, 1)) for v, s, e in truth]
        found = near + random_moments(rng, 10, videos=3)
        found = [found[i] for i in rng.permutation(len(found))]
        samples.append(query(truth, found, 'vcmr', relevance=relevance))
        for (k, iou), values in scores.items():
            taken = walk(truth, found, lambda x, iou=iou: x > iou)
            gain = [0 if m is None else 2 ** relevance[m] - 1 for m in taken][:k]
            ideal = sorted(2**relevance - 1, reverse=True)[:k]
            dcg, best = (
                sum(x / math.log2(rank + 2) for rank, x in enumerate(xs)) for xs in (gain, ideal)
            )
            values.append(dcg / best)
    settings = dict(top_k=(1, 5, 20), iou_thresholds=(0.3, 0.7))
    results = evaluate(NDCG | settings, samples)
    for (k, iou), values in scores.items():
        assert results[f'VCMR/NDCG{k}@{iou}'] == pytest.approx(100 * np.mean(values), rel=1e-9)


def test_a_moment_of_relevance_0_is_taken_and_gains_nothing_and_is_no_hit_of_recalls():
    truth, found = [(1, 0, 10), (1, 0, 8)], [(1, 0, 10), (1, 0, 8)]
    sample = query(truth, found, 'vcmr', relevance=[0.0, 3.0])
    ndcg = evaluate(NDCG | dict(top_k=(10,), iou_thresholds=(0.7,)), [sample])
    assert ndcg['VCMR/NDCG10@0.7'] == pytest.approx(100 / math.log2(3))
    recall = dict(type='reloclnet_mm.MomentRecall', task='VCMR', top_k=(1,), iou_thresholds=(0.9,))
    assert evaluate(recall, [sample]) == {'VCMR/R1@0.9': 0.0}
    sample['pred_vr'] = dict(video_ids=np.array([1]))
    sample['gt']['relevance'] = np.zeros(2)
    assert evaluate(dict(type='reloclnet_mm.VideoRecall', top_k=(1,)), [sample]) == {'VR/R1': 0.0}


def test_no_queries_have_no_ndcg():
    assert np.isnan(list(METRICS.build(NDCG).compute_metrics([]).values())).all()


# Both.


@pytest.mark.parametrize('config', [QV, QV | dict(task='VCMR'), NDCG])
def test_a_query_without_an_answer_is_an_error(config):
    sample = query(WINDOWS, FOUND)
    del sample['gt']
    with pytest.raises(InputError, match=r'query 7 has no answer.*TVRSubmission'):
        evaluate(config, [sample])


def test_moments_without_relevance_are_an_error():
    with pytest.raises(InputError, match=r'query 7 have no relevance; read .* or leave this'):
        evaluate(NDCG, [query(WINDOWS, FOUND, 'vcmr')])


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (QV | dict(task='VR'), "QVHighlightsMetric: task is 'VR'"),
        (QV | dict(iou_thresholds=()), 'QVHighlightsMetric: iou_thresholds is'),
        (QV | dict(map_ious=(0,)), 'QVHighlightsMetric: map_ious is 0'),
        (QV | dict(recall_ious=(2,)), 'QVHighlightsMetric: recall_ious is 2'),
        (QV | dict(max_predictions=0), 'QVHighlightsMetric: max_predictions is 0'),
        (QV | dict(length_ranges=dict(a=(9, 3))), r"length_ranges\['a'\] is 3, .* > 9"),
        (NDCG | dict(top_k=(0,)), 'RankingNDCG: top_k is 0'),
        (NDCG | dict(iou_thresholds=(1.0,)), 'RankingNDCG: iou_thresholds is 1.0'),
    ],
)
def test_settings_that_make_no_sense_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        METRICS.build(config)


def test_both_fill_tables_of_their_own_beside_recalls_in_one_evaluator():
    configs = [
        dict(type='reloclnet_mm.MomentRecall', task='SVMR', top_k=(1,)),
        dict(type='reloclnet_mm.MomentRecall', task='VCMR', top_k=(1,)),
        QV | dict(map_ious=(0.5,), recall_ious=(0.7,)),
        NDCG | dict(top_k=(10, 20), iou_thresholds=(0.5,)),
    ]
    sample = query(WINDOWS, FOUND, relevance=[1.0, 2.0, 3.0])
    sample['pred_vcmr'] = sample['pred_svmr']
    evaluator = Evaluator(configs)
    evaluator.process([sample])
    results = evaluator.evaluate(1)
    cells = [cell for metric in evaluator.metrics for cell in metric.table_cells()]
    assert {cell.name for cell in cells} <= results.keys()
    tables = result_table(results, cells).split('\n\n')
    assert [table.split()[0] for table in tables] == ['SVMR', 'SVMR', 'VCMR']
    assert [line.split() for line in tables[1].splitlines()[2:]] == [
        ['mAP', '57.78', '5.00', '30.00', '100.00'],
        ['mAP@0.5', '100.00', '50.00', '33.33', '100.00'],
        ['R1@0.7', '100.00', '0.00', '0.00', '100.00'],
    ]
