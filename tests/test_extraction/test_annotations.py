import json

import pytest

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.annotations import read_query_texts, read_video_durations


def write_lines(path, *lines):
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return path


def test_queries_of_several_files_are_read_by_id(tmp_path):
    train = write_lines(
        tmp_path / 'train.jsonl', {'desc_id': 7, 'desc': ' a b \n', 'vid_name': 'v'}
    )
    val = write_lines(tmp_path / 'val.jsonl', {'desc_id': 'q8', 'desc': 'c'})
    assert read_query_texts([train, val]) == {'7': 'a b', 'q8': 'c'}


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ({'desc': 'x'}, r"a\.jsonl:2: found the keys \['desc'\], expected \"desc_id\""),
        ({'desc_id': 2, 'desc': None}, r'a\.jsonl:2: found the keys'),
        ({'desc_id': 2, 'desc': ' \t'}, r'a\.jsonl:2: query 2 is empty'),
        ({'desc_id': '1', 'desc': 'x'}, r'a\.jsonl:2: desc_id 1 occurs twice'),
    ],
)
def test_unusable_query_names_file_and_line(tmp_path, line, message):
    path = write_lines(tmp_path / 'a.jsonl', {'desc_id': 1, 'desc': 'x'}, line)
    with pytest.raises(InputError, match=message):
        read_query_texts([path])


def test_id_in_two_files_is_refused(tmp_path):
    paths = [write_lines(tmp_path / f'{n}.jsonl', {'desc_id': 1, 'desc': 'x'}) for n in 'ab']
    with pytest.raises(InputError, match=r'b\.jsonl:1: desc_id 1 occurs twice'):
        read_query_texts(paths)


def test_annotation_without_queries_is_refused(tmp_path):
    path = write_lines(tmp_path / 'a.jsonl')
    with pytest.raises(InputError, match=r'a\.jsonl: no queries'):
        read_query_texts([path])


def test_durations_of_all_splits_are_read(tmp_path):
    path = tmp_path / 'index.json'
    path.write_text(json.dumps({'train': {'a': [3, 0], 'b': [2.5, 1]}, 'val': {'c': [9.0, 2]}}))
    assert read_video_durations(path) == {'a': 3.0, 'b': 2.5, 'c': 9.0}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([1], 'not a video index; expected {split'),
        ({'a': [3, 0]}, 'not a video index; expected {split'),
        ({'train': {}}, 'no videos'),
        ({'train': {'a': [0, 0]}}, "video 'a': found a duration of 0.0 s"),
        ({'train': {'a': [3, 0]}, 'val': {'a': [4, 0]}}, 'video a lasts 4.0 s in val, 3.0 s'),
    ],
)
def test_unusable_index_is_refused(tmp_path, content, message):
    path = tmp_path / 'index.json'
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_video_durations(path)
