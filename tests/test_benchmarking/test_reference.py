"""What rows are compared on, and rows of other data."""

import json
from dataclasses import replace

import numpy as np
import pytest
from mmengine.config import Config
from small_benchmark import write_config
from tiny_corpus import INDEX, NUM_CLIPS, edit_line, read_lines

from reloclnet_mm.benchmarking.reference import (
    Protocol,
    check_same,
    protocol_notes,
    read_protocol,
    read_reference,
)
from reloclnet_mm.errors import InputError


def test_queries_answers_and_videos_are_those_of_the_files(reference, data):
    lines = read_lines(data / 'val.jsonl')
    assert [query.query_id for query in reference.queries] == [str(x['desc_id']) for x in lines]
    for query, line in zip(reference.queries, lines, strict=True):
        assert (query.text, query.query_type) == (line['desc'], line['type'])
        assert reference.video_names[query.own_video] == line['vid_name']
        assert query.truth.video_ids.tolist() == [query.own_video]
        np.testing.assert_allclose(query.truth.moments, [line['ts']])
    index = json.loads((data / INDEX).read_text())['val']
    assert reference.video_names == tuple(NUM_CLIPS['val'])
    assert reference.video_ids == tuple(number for _, number in index.values())
    assert reference.hours == pytest.approx(sum(x for x, _ in index.values()) / 3600)
    assert reference.protocol == Protocol()


def test_the_protocol_is_that_of_the_evaluators():
    recall = dict(type='MomentRecall', task='SVMR')
    didemo = [dict(recall, top_k=[1, 5], iou_thresholds=[1.0], min_annotators=2)]
    assert read_protocol([*didemo, dict(type='ChanceRecall')]) == Protocol((1, 5), (1.0,), 2)
    assert read_protocol(dict(type='ChanceRecall')) == Protocol()


def test_a_config_of_another_package_has_none():
    assert read_reference(Config(dict(test_dataloader=dict(dataset=dict(type='x'))))) is None


@pytest.fixture
def other(corpus_folder, tmp_path):
    """Read what a config over a corpus that a test has damaged tests on."""

    def read(**changes):
        path = write_config(corpus_folder, tmp_path / 'other.py', **changes)
        return read_reference(Config.fromfile(path))

    return read


def test_the_same_data_in_another_folder_and_order_is_the_same(other, corpus_folder, reference):
    lines = (corpus_folder / 'val.jsonl').read_text().splitlines(keepends=True)
    (corpus_folder / 'val.jsonl').write_text(''.join(reversed(lines)))
    check_same(reference, other())


def test_another_split_is_an_error(other, corpus_folder, reference):
    (corpus_folder / 'val.jsonl').write_bytes((corpus_folder / 'train.jsonl').read_bytes())
    index = json.loads((corpus_folder / INDEX).read_text())
    (corpus_folder / INDEX).write_text(json.dumps(dict(val=index['train'])))
    with pytest.raises(InputError, match='different queries: 8 and 8, of which 0 are the same'):
        check_same(reference, other())


def test_another_corpus_is_an_error(other, corpus_folder, reference):
    index = json.loads((corpus_folder / INDEX).read_text())
    index['val']['more'] = [9.0, 99]
    (corpus_folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"different videos: 5 and 4.*only the first has 'more'"):
        check_same(reference, other())


@pytest.mark.parametrize(
    ('change', 'what'),
    [(dict(desc='another text'), 'text'), (dict(ts=[0.0, 0.5]), 'right moments')],
)
def test_another_text_or_answer_is_an_error(other, corpus_folder, reference, change, what):
    edit_line(corpus_folder / 'val.jsonl', 3, **change)
    query_id = reference.queries[2].query_id
    message = f"differ in query '{query_id}', in the {what}: .*same annotation"
    with pytest.raises(InputError, match=message):
        check_same(reference, other())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda query: replace(query, own_video=None),
            "'8', in the own video: None and e;",
        ),
        (
            lambda query: replace(query, truth=query.truth._replace(annotators=np.array([3]))),
            r"'8', in the annotators: \[3\] and None",
        ),
    ],
)
def test_another_own_video_or_annotator_is_an_error(reference, change, message):
    queries = (change(reference.queries[0]), *reference.queries[1:])
    with pytest.raises(InputError, match=message):
        check_same(reference, replace(reference, queries=queries))


def test_another_duration_of_a_video_is_an_error(reference):
    first, *others = reference.durations
    check_same(reference, replace(reference, durations=(first + 5e-4, *others)))
    with pytest.raises(InputError, match=r"duration of video 'e': \S+ s and \S+ s; .*same annot"):
        check_same(reference, replace(reference, durations=(first + 1, *others)))


def test_a_protocol_that_is_not_used_is_named(reference):
    assert protocol_notes(reference, [reference, None]) == []
    other = replace(reference, source='didemo.py', protocol=Protocol((1, 5), (1.0,), 2))
    (note,) = protocol_notes(reference, [reference, other, other])
    assert note == (
        'All recalls are computed by K 1, 5, 10, 100, IoU 0.5, 0.7 and 1 annotator(s) of '
        f'{reference.source}, not by K 1, 5, IoU 1.0 and 2 annotator(s) of didemo.py.'
    )


def test_a_split_without_answers_is_an_error(other, corpus_folder):
    edit_line(corpus_folder / 'val.jsonl', 2, ts=None, vid_name=None)
    with pytest.raises(InputError, match='has no answer to compare with'):
        other()


def test_a_query_without_a_relevant_moment_is_an_error(corpus_folder, tmp_path):
    names = list(NUM_CLIPS['val'])
    moments = [
        dict(video_name=name, timestamp=[0, 2], duration=9, relevance=relevance)
        for name, relevance in zip(names, (4, 1, 0, 0), strict=True)
    ]
    queries = [
        dict(query_id=8, query='found', relevant_moment=moments),
        dict(query_id=9, query='lost', relevant_moment=moments[2:]),
    ]
    path = corpus_folder / 'ranking.json'
    path.write_text(json.dumps(queries))
    config = Config.fromfile(write_config(corpus_folder, tmp_path / 'ranking.py'))
    for loader in (config.test_dataloader, config.test_corpus_dataloader):
        loader.dataset.reader = dict(type='TVRRankingReader', ann_file=path.name)
    with pytest.raises(InputError, match=r"all moments of query '?9'? have relevance 0"):
        read_reference(config)
    for loader in (config.test_dataloader, config.test_corpus_dataloader):
        loader.dataset.reader.min_relevance = 1
    (query,) = read_reference(config).queries
    assert query.truth.relevance.tolist() == [4, 1]
