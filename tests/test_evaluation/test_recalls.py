"""Recalls by hand, their naive versions, and what chance would reach."""

import itertools
import json
from math import comb

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.chance import candidate_spans, chance_of_hit, right_candidates
from reloclnet_mm.evaluation.functional import (
    NO_HIT,
    first_moment_hits,
    first_video_hit,
    recall_at,
    temporal_iou,
)
from reloclnet_mm.evaluation.table import recall_table
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


def test_the_overlap_is_compared_in_float32():
    # 0.7 in float64 is above the float32 quotient 7 / 10, in float32 they are equal.
    hits = first_moment_hits([1], [[0.0, 7.0]], 1, [[0.0, 10.0]], [0.7])
    assert hits.tolist() == [0]


def test_the_first_right_video():
    assert first_video_hit([4, 7, 9, 7], 7) == 1
    assert first_video_hit([4, 7], 5) == NO_HIT
    assert first_video_hit(np.zeros(0, int), 5) == NO_HIT


def test_a_right_moment_lies_in_the_right_video_and_overlaps_enough():
    videos = [8, 7, 7, 7]
    moments = [[0, 10], [20, 30], [0, 6], [0, 9]]
    hits = first_moment_hits(videos, moments, 7, [[0, 10]], [0.5, 0.7, 0.95])
    assert hits.tolist() == [2, 3, NO_HIT]


def test_no_predictions_are_a_miss():
    hits = first_moment_hits(np.zeros(0, int), np.zeros((0, 2)), 7, [[0, 10]], [0.5, 0.7])
    assert hits.tolist() == [NO_HIT, NO_HIT]


def test_two_annotators_must_agree_where_asked():
    annotated = [[0, 10], [0, 10], [20, 30], [np.nan, np.nan]]
    videos, moments = [1, 1], [[20, 30], [0, 10]]
    assert first_moment_hits(videos, moments, 1, annotated, [0.5], 1).tolist() == [0]
    assert first_moment_hits(videos, moments, 1, annotated, [0.5], 2).tolist() == [1]
    assert first_moment_hits(videos, moments, 1, annotated, [0.5], 3).tolist() == [NO_HIT]


def test_a_list_shorter_than_k_misses_beyond_its_end():
    hits = np.array([0, 4, NO_HIT, 9])
    assert [recall_at(hits, k) for k in (1, 5, 10, 100)] == [25.0, 50.0, 75.0, 75.0]


def test_recalls_are_rounded_to_two_decimals_and_nothing_has_none():
    assert recall_at(np.array([0, NO_HIT, NO_HIT]), 1) == 33.33
    assert np.isnan(recall_at(np.zeros(0), 1))


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
    result.gt_moments = torch.tensor([moment], dtype=torch.float64)
    return result


@pytest.fixture
def samples():
    return [
        sample(0, 'v', 1, [0, 10], [1, 2], [(2, 0, 10), (1, 0, 8)], [(1, 0, 6), (1, 0, 10)]),
        sample(1, 'v', 2, [0, 10], [1, 2], [(2, 0, 10)], [(2, 0, 10)]),
        sample(2, 't', 2, [5, 9], [1, 2], [], [(2, 0, 1)]),
    ]


def evaluate(config, samples, corpus=None):
    metric = METRICS.build(config)
    metric.dataset_meta = dict(corpus=corpus)
    for part in (samples[:2], samples[2:]):
        metric.process(None, [s.to_dict() for s in part])
    return metric.evaluate(len(samples))


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


def test_queries_without_a_type_count_overall_only(samples):
    samples[2].set_metainfo(dict(query_type=None))
    config = dict(type='reloclnet_mm.VideoRecall', top_k=(1,))
    assert evaluate(config, samples) == {'VR/R1': 33.33, 'VR/v/R1': 50.0}


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
    del samples[0].gt_moments
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


def test_the_chance_of_a_hit_in_a_large_corpus_is_exact():
    exact = 1 - comb(10**6 - 3, 100) / comb(10**6, 100)
    assert chance_of_hit(3, 10**6, 100) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(('min_span', 'max_span'), [(0, 2), (1, 4), (2, 16)])
@pytest.mark.parametrize('num_clips', [1, 2, 5])
def test_candidate_spans_are_all_that_a_model_may_answer(num_clips, min_span, max_span):
    expected = {
        (i, j) for i in range(num_clips) for j in range(num_clips) if min_span <= j - i < max_span
    }
    found = candidate_spans(num_clips, min_span, max_span).tolist()
    assert len(found) == len(expected)
    assert set(map(tuple, found)) == expected


def test_right_candidates_are_counted_by_hand():
    # In clips of 2 s: [0, 4] and [2, 6] s meet [0, 6] with IoU 2/3, [0, 6] with 1, others less.
    spans = candidate_spans(4, 1, 4)
    assert right_candidates(spans, 2.0, [[0.0, 6.0]], 0.5, 1) == 3
    assert right_candidates(spans, 2.0, [[0.0, 6.0]], 0.7, 1) == 1
    assert right_candidates(spans, 2.0, [[0.0, 6.0], [0.0, 4.0]], 0.7, 2) == 0


def test_chance_equals_the_mean_over_simulated_random_rankings():
    rng = np.random.default_rng(0)
    corpus = CorpusInfo(('a', 'b', 'c'), (5, 3, 9), (6, 4, 1), (1.5, 3.0, 1.5))
    answers = [(5, [0.0, 4.0]), (3, [3.0, 9.0])]
    samples = [sample(i, None, v, m, [], [], []) for i, (v, m) in enumerate(answers)]
    config = dict(type='reloclnet_mm.ChanceRecall', top_k=(1, 4), min_span=1, max_span=4)
    found = evaluate(config, samples, corpus)
    spans = [candidate_spans(n, 1, 4) for n in corpus.num_clips]
    seconds = zip(spans, corpus.seconds_per_clip, strict=True)
    moments = np.concatenate([x * length for x, length in seconds])
    videos = np.repeat(corpus.video_ids, [len(x) for x in spans])
    trials = 2000
    hits = dict.fromkeys(found, 0)
    for _, (video, moment) in itertools.product(range(trials), answers):
        order = rng.permutation(len(videos))
        own = order[videos[order] == video]
        ranked_videos = rng.permutation(corpus.video_ids)
        for k in (1, 4):
            hits[f'chance/VR/R{k}'] += first_video_hit(ranked_videos, video) < k
            for task, ranks in (('VCMR', order), ('SVMR', own)):
                for iou in (0.5, 0.7):
                    (first,) = first_moment_hits(
                        videos[ranks], moments[ranks], video, [moment], [iou]
                    )
                    hits[f'chance/{task}/R{k}@{iou}'] += first < k
    for name, count in hits.items():
        # 4,000 draws: a standard deviation is at most 0.8 percentage points.
        assert found[name] == pytest.approx(100 * count / (2 * trials), abs=4), name


# The table and the submission.


def test_the_table_of_recalls():
    metrics = {
        'VR/R1': 12.5,
        'VR/R10': 40.0,
        'VR/v/R1': 99.0,
        'SVMR/R1@0.5': 3.456,
        'SVMR/R1@0.7': 2.0,
        'VCMR/R1@0.5': 1.0,
        'VCMR/R1@0.5+0.7': 77.0,
        'chance/VR/R1': 0.05,
        'chance/VCMR/R1@0.5': 0.004,
        'loss': 3.0,
    }
    assert recall_table(metrics).splitlines() == [
        '                VR    SVMR IoU 0.5    SVMR IoU 0.7    VCMR IoU 0.5',
        '----  ------------  --------------  --------------  --------------',
        ' R@1  12.50 (0.05)            3.46            2.00     1.00 (0.00)',
        'R@10         40.00',
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
        del x.gt_moments
        del x.pred_svmr
    found = submit(samples, tmp_path / 'submission.json', corpus)
    assert set(found) == {'video2idx', 'VR', 'VCMR'}
    assert len(found['VR']) == len(found['VCMR']) == 3
