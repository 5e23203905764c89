"""Numbers of rows against loops over queries and numbers worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from reloclnet_mm.benchmarking.answers import Answers, Ranked, answers_of
from reloclnet_mm.benchmarking.differences import Shown, most_different
from reloclnet_mm.benchmarking.reference import Protocol
from reloclnet_mm.benchmarking.scores import (
    Measure,
    Scores,
    breakdowns,
    groupings,
    measures_of,
    recall_by_corpus_size,
    recall_by_k,
    recalls,
    score,
    significance,
)
from reloclnet_mm.evaluation.comparison import NEVER, sign_flip_p_values

VR1, SVMR1 = Measure('VR', None, 1), Measure('SVMR', 0.5, 1)


@pytest.fixture
def answers(evaluated, reference):
    return answers_of(evaluated[1], evaluated[0]['limits'], reference, reference, 'row')


@pytest.fixture
def scores(answers, reference):
    return score(answers, reference)


def of_ranks(ranks, limit=None):
    ranks = np.array(ranks)
    return Scores({('VR', None): ranks, ('SVMR', 0.5): ranks}, {'VR': limit, 'SVMR': limit}, 4)


def test_names_are_those_of_the_metrics():
    names = [measure.name for measure in measures_of(Protocol((1, 5), (0.5,)))]
    assert names == ['VR/R1', 'VR/R5', 'SVMR/R1@0.5', 'SVMR/R5@0.5', 'VCMR/R1@0.5', 'VCMR/R5@0.5']


def test_a_row_of_seeds_is_their_mean_and_standard_deviation():
    seeds = [of_ranks([1, 1, 1, 2]), of_ranks([1, 2, 2, 2])]
    found = recalls(seeds, [VR1], np.arange(4))['VR/R1']
    assert (found['value'], found['seeds']) == (50, [75, 25])
    assert found['sd'] == pytest.approx(np.sqrt(2 * 25**2))
    assert 0 <= found['low'] < 50 < found['high'] <= 100


def test_recalls_and_their_deviation_are_not_rounded():
    # One of three and two of three: the deviation is 1 / 3 / √2, of rounded recalls 23.5679.
    found = recalls([of_ranks([1, 2, 2]), of_ranks([1, 1, 2])], [VR1], np.arange(3))['VR/R1']
    assert found['seeds'] == pytest.approx([100 / 3, 200 / 3], abs=1e-9)
    assert found['sd'] == pytest.approx(100 / 3 / np.sqrt(2), abs=1e-9)


def test_beyond_its_lists_a_row_has_no_recall():
    assert recalls(
        [of_ranks([1, 4], limit=2)], [VR1, Measure('VR', None, 5)], np.arange(2)
    ).keys() == {'VR/R1'}


def test_svmr_counts_right_moments_of_the_own_video_alone(reference, answers):
    query = reference.queries[0]
    own, other = query.own_video, (query.own_video + 1) % 4
    truth = query.truth._replace(
        video_ids=np.array([other, own]), moments=np.array([[0.0, 1.0], [4.0, 5.0]])
    )
    asked = replace(reference, queries=(replace(query, truth=truth),))
    ranked = Ranked(np.array([[other, own]]), np.array([[[0, 1], [4, 5]]], np.float32))
    found = score(Answers(dict(SVMR=ranked, VCMR=ranked)), asked)
    assert found.ranks['SVMR', 0.5].tolist() == [2]
    assert found.ranks['VCMR', 0.5].tolist() == [1]


def test_svmr_is_left_out_where_a_query_names_no_video(reference, answers):
    queries = (replace(reference.queries[0], own_video=None), *reference.queries[1:])
    found = score(answers, replace(reference, queries=queries))
    assert {task for task, _ in found.ranks} == {'VR', 'VCMR'} == set(found.limits)


def test_each_pair_is_tested_and_corrected_for_all_pairs_of_the_measure():
    rng, clusters = np.random.default_rng(0), np.arange(60) // 2
    rows = {name: [of_ranks(rng.integers(1, 4, 60))] for name in 'abc'}
    rows['d'] = [Scores({('SVMR', 0.5): np.ones(60, int)}, {'SVMR': None})]
    found = significance(rows, [VR1, SVMR1], clusters)
    assert len([x for x in found if x['measure'] == 'VR/R1']) == 3
    assert len([x for x in found if x['measure'] == 'SVMR/R1@0.5']) == 6
    first = found[0]
    hits = {name: rows[name][0].hits(VR1) for name in 'ab'}
    difference = hits['a'].astype(float) - hits['b']
    assert first['difference'] == pytest.approx(100 * difference.mean())
    assert first['p'] == sign_flip_p_values(difference[None], clusters)[0]
    assert first['p'] <= first['p_holm'] <= min(1, 3 * first['p'])


def test_groups_hold_each_query_once_and_their_recalls_are_those_of_a_loop(reference, scores):
    found = breakdowns({'row': [scores]}, reference)
    assert [x['name'] for x in found] == [
        'query type',
        'moment length in seconds',
        'center of the moment in its video',
    ]
    for breakdown, (_, _, group) in zip(found, groupings(reference), strict=True):
        assert sum(x['queries'] for x in breakdown['groups']) == 8
        hits = scores.hits(VR1)
        for i, cell in enumerate(breakdown['recalls']['VR R@1']['row']):
            chosen = [hits[q] for q in range(8) if group[q] == i]
            assert (cell and cell[0]) == (100 * np.mean(chosen) if chosen else None)
    types = found[0]['groups']
    assert types == [dict(label='t', queries=4), dict(label='v', queries=4)]


def test_lengths_and_positions_are_those_of_the_right_moments(reference):
    _, lengths, centers = groupings(reference)
    for query, length, center in zip(reference.queries, lengths[2], centers[2], strict=True):
        (start, end), duration = query.truth.moments[0], reference.durations[query.video]
        low, high = map(float, lengths[1][length].split(' to '))
        assert low * 0.995 <= end - start <= high * 1.005
        low, high = map(float, centers[1][center].split(' to '))
        assert low <= (start + end) / 2 / duration <= high


def test_the_whole_corpus_has_the_recall_of_the_table(reference, scores):
    found = recall_by_corpus_size({'row': [scores]}, reference)
    assert found['sizes'] == [4]
    expected = recalls([scores], [VR1], reference.clusters)['VR/R1']['value']
    np.testing.assert_allclose(found['recalls']['row'], [[expected, expected]])


def test_a_query_with_several_right_videos_has_no_recall_by_size_of_the_corpus(reference, scores):
    first = reference.queries[0]
    truth = first.truth._replace(
        video_ids=np.array([0, 1]), moments=np.repeat(first.truth.moments, 2, 0)
    )
    queries = (replace(first, truth=truth), *reference.queries[1:])
    found = recall_by_corpus_size({'row': [scores]}, replace(reference, queries=queries))
    assert found['recalls'] == {}


def test_recall_by_k_goes_through_the_recalls_of_the_table(reference, scores):
    curves = recall_by_k({'row': [scores]}, reference.protocol)
    assert curves.keys() == {'VR', 'SVMR IoU 0.5', 'VCMR IoU 0.5'}
    for name, x in recalls([scores], measures_of(reference.protocol), reference.clusters).items():
        task, _, rank = name.partition('/R')
        k, _, iou = rank.partition('@')
        if iou != '0.7':
            curve = curves[f'{task} IoU {iou}' if iou else task]['row']
            assert curve[int(k) - 1] == pytest.approx(x['value'], abs=0.005)


def test_queries_that_differ_most_come_first(reference, answers):
    none, first = np.full(8, NEVER), np.full(8, NEVER)
    first[[5, 2, 7]] = [1, 2, 4]
    key = ('VCMR', 0.5)
    shown = [
        Shown(name, answers, Scores({key: ranks}, {}))
        for name, ranks in (('a', first), ('b', none))
    ]
    found = most_different(*shown, reference)
    ids = [reference.queries[i].query_id for i in (5, 2, 7)]
    assert [query['query_id'] for query in found['queries']] == ids
    assert found['better'] == [3, 0]
    query = found['queries'][0]
    assert [x['ranks'] for x in query['answers']] == [{'VCMR IoU 0.5': 1}, {'VCMR IoU 0.5': None}]
    listed = answers.tasks['SVMR'].moments[5][:3]
    listed = listed[~np.isnan(listed[:, 0])]
    np.testing.assert_allclose(query['answers'][0]['in_video'], listed)
    ranked = answers.tasks['VCMR'].videos[5][:3]
    assert [x['video'] for x in query['answers'][1]['in_corpus']] == [
        reference.video_names[v] for v in ranked
    ]
