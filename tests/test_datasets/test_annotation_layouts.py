"""Layouts of annotation: TVR's and ActivityNet Captions'."""

import json

import numpy as np
import pytest
from tiny_corpus import corpus_dataset, edit_line, query_dataset, read_lines, write_lines

from reloclnet_mm.registry import DATASETS


def records(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def test_a_query_of_tvr(corpus_folder):
    line = read_lines(corpus_folder / 'val.jsonl')[5]
    found = records(DATASETS.build(query_dataset(corpus_folder, 'val')))[5]
    truth = found.pop('gt')
    assert truth['video_ids'].tolist() == [12]
    assert set(truth) == {'video_ids', 'moments'}
    moment = truth['moments']
    assert moment.tolist() == [line['ts']]
    assert moment.dtype == np.float64
    assert found == dict(
        query_id=13,
        query='query 13 in video g',
        query_type='t',
        video_name='g',
        video_id=12,
        source_id=12,
        duration=1.5,
        sample_idx=5,
        feature_files={
            name: str(corpus_folder / file)
            for name, file in dict(video='video.h5', subtitle='sub.h5', query='query.h5').items()
        },
        channels=dict(video=6, subtitle=5, query=4),
        normalize=('subtitle', 'query'),
        clip_length=1.5,
        max_clips=8,
        max_tokens=4,
    )


def test_the_corpus_of_a_split_in_the_order_of_the_index(corpus_folder):
    found = records(DATASETS.build(corpus_dataset(corpus_folder, 'val')))
    assert [(x['video_name'], x['video_id'], x['duration']) for x in found] == [
        ('e', 10, 9.0),
        ('f', 11, 12.0),
        ('g', 12, 1.5),
        ('h', 13, 19.5),
    ]


def test_lines_of_a_split_without_answers_have_a_description_and_an_id_only(corpus_folder):
    lines = read_lines(corpus_folder / 'val.jsonl')
    path = corpus_folder / 'val.jsonl'
    write_lines(path, [dict(desc=x['desc'], desc_id=x['desc_id']) for x in lines])
    dataset = DATASETS.build(query_dataset(corpus_folder, 'val'))
    assert dataset.video_ids() == {}
    for found in records(dataset):
        assert not {'video_id', 'video_name', 'gt', 'query_type'} & set(found)


def test_several_annotators_have_a_row_each_and_each_is_checked(corpus_folder, warnings_logged):
    moments = [[0.0, 5.0], [2.0, 17.0], [3.0, 4.0]]  # in video b of 16.5 s
    edit_line(corpus_folder / 'train.jsonl', 3, ts=moments)
    found = records(DATASETS.build(query_dataset(corpus_folder)))[2]['gt']
    assert found['moments'].tolist() == [[0.0, 5.0], [2.0, 16.5], [3.0, 4.0]]
    assert found['annotators'].tolist() == [0, 1, 2]
    assert found['video_ids'].tolist() == [1, 1, 1]
    assert len(warnings_logged) == 1


def test_blank_lines_are_skipped(corpus_folder):
    path = corpus_folder / 'train.jsonl'
    path.write_text('\n\n'.join(path.read_text().splitlines()) + '\n\n')
    assert len(DATASETS.build(query_dataset(corpus_folder))) == 8


def test_the_first_so_many_queries(corpus_folder):
    dataset = DATASETS.build(query_dataset(corpus_folder, indices=3))
    assert [x['query_id'] for x in records(dataset)] == [0, 1, 2]
    assert dataset.video_ids() == {0: 'a', 1: 'b'}


CAPTIONS = {
    'first': dict(
        duration=20.0,
        timestamps=[[0, 5], [9.0, 4.0], [15, 20.5]],
        sentences=[' one ', 'two', 'three'],
    ),
    'second': dict(duration=8.0, timestamps=[[1.0, 8.0]], sentences=['four']),
}


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / 'captions.json'
    path.write_text(json.dumps(CAPTIONS))
    return path


def activitynet(kind, path):
    return DATASETS.build(
        dict(
            type=f'reloclnet_mm.{kind}',
            reader=dict(type='reloclnet_mm.ActivityNetCaptionsReader', ann_file=str(path)),
            feature_files={},
        )
    )


def test_sentences_of_activitynet_captions_with_their_repairs_counted(captions, warnings_logged):
    found = records(activitynet('QueryDataset', captions))
    assert [(x['query_id'], x['query'], x['video_id']) for x in found] == [
        ('captions#first#0', 'one', 0),
        ('captions#first#1', 'two', 0),
        ('captions#first#2', 'three', 0),
        ('captions#second#0', 'four', 1),
    ]
    moments = [x['gt']['moments'].tolist() for x in found]
    assert moments == [[[0.0, 5.0]], [[4.0, 9.0]], [[15.0, 20.0]], [[1.0, 8.0]]]
    assert warnings_logged == [
        f'{captions}: start and end of a moment were swapped: 1',
        f'{captions}: a moment past the end of its video was cut: 1',
    ]


def test_videos_of_activitynet_captions_go_by_the_ids_of_the_queries(captions):
    corpus = activitynet('CorpusDataset', captions)
    assert corpus.video_ids() == activitynet('QueryDataset', captions).video_ids()
    assert [x['duration'] for x in records(corpus)] == [20.0, 8.0]
