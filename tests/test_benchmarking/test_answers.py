"""Answers in the order of the reference, from models and from prediction files."""

import json
from dataclasses import replace

import numpy as np
import pytest

from reloclnet_mm.benchmarking.answers import NO_PLACE, answers_of
from reloclnet_mm.benchmarking.lists import NO_VIDEO
from reloclnet_mm.benchmarking.predictions import read_predictions
from reloclnet_mm.benchmarking.scores import measures_of, score
from reloclnet_mm.errors import InputError


def hits_of(answers, reference):
    scores = score(answers, reference)
    return {measure.name: scores.hits(measure) for measure in measures_of(reference.protocol)}


def same_hits(found, expected):
    for name, hits in expected.items():
        np.testing.assert_array_equal(found[name], hits, err_msg=name)


@pytest.fixture
def answers(evaluated, reference):
    return answers_of(evaluated[1], evaluated[0]['limits'], reference, reference, 'row')


def test_queries_are_matched_by_id_and_videos_by_name(evaluated, reference, answers):
    arrays = evaluated[1]
    order = np.random.default_rng(0).permutation(len(reference.queries))
    numbers = {number: 1000 - number for number in reference.video_ids} | {NO_VIDEO: NO_VIDEO}
    renumber = np.vectorize(numbers.__getitem__)
    mixed = {
        name: renumber(x[order]) if name.endswith('video_ids') else x[order]
        for name, x in arrays.items()
    }
    own = replace(
        reference,
        queries=tuple(reference.queries[i] for i in order),
        video_names=reference.video_names[::-1],
        video_ids=tuple(1000 - number for number in reversed(reference.video_ids)),
    )
    found = answers_of(mixed, evaluated[0]['limits'], own, reference, 'row')
    for task, ranked in answers.tasks.items():
        np.testing.assert_array_equal(found.tasks[task].videos, ranked.videos)
        if ranked.moments is not None:
            np.testing.assert_array_equal(found.tasks[task].moments, ranked.moments)


def test_a_query_that_was_not_answered_is_an_error(evaluated, reference):
    fewer = {name: x[1:] for name, x in evaluated[1].items()}
    with pytest.raises(InputError, match=r"answers 7 queries, 7 of the 8 .*'8' has no answer"):
        answers_of(fewer, {}, reference, reference, 'row')


def submission_of(answers, reference):
    """The answers as a file of another program, numbered in its own way."""
    tasks = {}
    for task, ranked in answers.tasks.items():
        moments = np.zeros((*ranked.videos.shape, 2)) if task == 'VR' else ranked.moments
        tasks[task] = [
            dict(
                desc_id=int(query.query_id),
                desc=query.text,
                predictions=[
                    [7 * video, *moment.tolist(), 1.0]
                    for video, moment in zip(videos.tolist(), found, strict=True)
                    if video != NO_PLACE
                ],
            )
            for query, videos, found in zip(reference.queries, ranked.videos, moments, strict=True)
        ]
    return dict(video2idx={x: 7 * i for i, x in enumerate(reference.video_names)}, **tasks)


@pytest.fixture
def submission(answers, reference):
    return submission_of(answers, reference)


@pytest.fixture
def read(tmp_path, reference):
    def read(content):
        path = tmp_path / 'lists.json'
        path.write_text(json.dumps(content))
        return read_predictions(path, reference)

    return read


def test_predictions_have_the_recalls_of_the_model_that_made_them(
    read, submission, answers, reference
):
    submission['VCMR'].reverse()
    expected, found = hits_of(answers, reference), hits_of(read(submission), reference)
    # Lists of three videos and ten moments tell nothing of the first hundred.
    beyond = {name for name in expected if 'R100' in name} | {'VR/R5', 'VR/R10'}
    for hits in (expected, found):
        assert {name for name, x in hits.items() if x is None} == beyond
    same_hits(found, {name: hits for name, hits in expected.items() if name not in beyond})


@pytest.mark.parametrize(('asked', 'limit'), [(2, 2), (3, 3), (4, None), (100, None)])
def test_a_model_has_no_recall_beyond_what_it_was_asked_for(evaluated, reference, asked, limit):
    limits = dict(VR=asked, SVMR=asked, VCMR=asked)
    answers = answers_of(evaluated[1], limits, reference, reference, 'row')
    found = {task: ranked.limit for task, ranked in answers.tasks.items()}
    # Four videos are all, and moments have no end.
    assert found == dict(VR=limit, SVMR=asked, VCMR=asked)


def test_a_task_that_is_absent_has_no_answers(read, submission):
    del submission['VR']
    assert sorted(read(submission).tasks) == ['SVMR', 'VCMR']


def change(submission, **keys):
    return submission | keys


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda x: change(x, VCMR=x['VCMR'][:-1]), r"VCMR: answers 7 .*query '15' has no answer"),
        (
            lambda x: change(x, VR=[dict(one, desc_id=one['desc_id'] + 100) for one in x['VR']]),
            r"VR: answers 8 queries, 0 of the 8 .*'108' is not among them.*same split",
        ),
        (lambda x: change(x, VR=[*x['VR'], x['VR'][0]]), '1 are answered twice'),
        (lambda x: change(x, video2idx=dict.fromkeys('efgh', 0)), 'gives two videos one number'),
        (
            lambda x: change(
                x, video2idx={'elsewhere': 0, **dict(list(x['video2idx'].items())[1:])}
            ),
            'ranks video 0, which video2idx does not name as a video of the corpus',
        ),
        (
            lambda x: change(x, SVMR=[dict(one, predictions=[[7, 0, 1, 1]]) for one in x['SVMR']]),
            "SVMR of query '8' answers with video 'f'; expected moments of its own video 'e'",
        ),
        (lambda x: change(x, VR=[dict(desc_id=8, predictions=[[0, 0]])]), r'VR.0..predictions.0'),
        (lambda x: dict(VR=x['VR']), 'video2idx'),
        (lambda x: dict(video2idx=x['video2idx']), 'has no answers under VR, SVMR or VCMR'),
        (lambda x: [1], r'found \[1\]'),
    ],
)
def test_predictions_that_cannot_be_compared_are_an_error(read, submission, damage, message):
    with pytest.raises(InputError, match=message):
        read(damage(submission))


def grounded(reference):
    """Results of a model such as DRN: the right moment first for every second query."""
    right = np.array([query.truth.moments[0] for query in reference.queries])
    moments = np.stack([right, right + 1000], 1)
    moments[1::2] = moments[1::2, ::-1]
    names = np.array([reference.video_names[query.video] for query in reference.queries])
    return dict(video_names=names, truth=right, **{'SVMR.moments': moments.astype(np.float32)})


def test_grounding_serves_svmr_alone_and_no_further_than_its_lists(reference):
    found = hits_of(answers_of(grounded(reference), {}, None, reference, 'drn'), reference)
    served = {name: hits for name, hits in found.items() if hits is not None}
    assert sorted(served) == ['SVMR/R1@0.5', 'SVMR/R1@0.7']
    assert served['SVMR/R1@0.7'].tolist() == [True, False] * 4


def test_grounding_of_other_queries_or_another_order_is_an_error(reference):
    arrays = grounded(reference)
    with pytest.raises(InputError, match='answers 7 queries, and the others 8'):
        answers_of({name: x[1:] for name, x in arrays.items()}, {}, None, reference, 'drn')
    with pytest.raises(InputError, match=r"query 1 is one on 'h' .*others on 'e'.*file order"):
        answers_of({name: x[::-1] for name, x in arrays.items()}, {}, None, reference, 'drn')


def test_proposals_are_the_same_for_all_queries_of_a_video_and_a_note_says_so(reference):
    names = np.array(reference.video_names)[::-1]
    moments = np.arange(4 * 2 * 2, dtype=np.float32).reshape(4, 2, 2)
    arrays = {'video_names': names, 'SVMR.moments': moments}
    answers = answers_of(arrays, {}, None, reference, 'bmn')
    for query, listed in zip(reference.queries, answers.tasks['SVMR'].moments, strict=True):
        place = names.tolist().index(reference.video_names[query.video])
        np.testing.assert_array_equal(listed, moments[place])
    assert 'without reading the query' in answers.notes[0]
    with pytest.raises(InputError, match=r"no proposals for 1 videos .*'h'"):
        answers_of({name: x[1:] for name, x in arrays.items()}, {}, None, reference, 'bmn')


def test_a_model_of_ours_without_a_corpus_cannot_be_compared(evaluated, reference):
    with pytest.raises(InputError, match='no test_corpus_dataloader'):
        answers_of(evaluated[1], {}, None, reference, 'row')
