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
        (
            {'desc': 'x'},
            r"a\.jsonl:2: found \{'desc': 'x'\}: object missing required field 'desc_id'",
        ),
        ({'desc_id': 2, 'desc': None}, r"a\.jsonl:2: found None at desc: expected 'str'"),
        ({'desc_id': 2, 'desc': ' \t'}, r'a\.jsonl:2: query 2 has no words'),
        ({'desc_id': '1', 'desc': 'x'}, r"a\.jsonl:2: query id '1' is that of .*a\.jsonl:1 too"),
    ],
)
def test_unusable_query_names_file_and_line(tmp_path, line, message):
    path = write_lines(tmp_path / 'a.jsonl', {'desc_id': 1, 'desc': 'x'}, line)
    with pytest.raises(InputError, match=message):
        read_query_texts([path])


def test_id_in_two_files_is_refused(tmp_path):
    paths = [write_lines(tmp_path / f'{n}.jsonl', {'desc_id': 1, 'desc': 'x'}) for n in 'ab']
    with pytest.raises(InputError, match=r'b\.jsonl: query id 1 is in an earlier file too'):
        read_query_texts(paths)


def test_annotation_without_queries_is_refused(tmp_path):
    path = write_lines(tmp_path / 'a.jsonl')
    with pytest.raises(InputError, match=r'a\.jsonl: no query in the file'):
        read_query_texts([path])


def test_durations_of_all_splits_are_read(tmp_path):
    path = tmp_path / 'index.json'
    path.write_text(json.dumps({'train': {'a': [3, 0], 'b': [2.5, 1]}, 'val': {'c': [9.0, 2]}}))
    assert read_video_durations(path) == {'a': 3.0, 'b': 2.5, 'c': 9.0}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([1], "found \\[1\\]: expected 'object', got 'array'"),
        ({'a': [3, 0]}, r"found .*: expected 'object', got 'array'"),
        ({'train': {}}, 'no video in the file'),
        (
            {'train': {'a': [0, 0]}},
            r"video 'a' of split 'train': found 0 at \[0\]: expected 'float' > 0\.0",
        ),
        (
            {'train': {'a': [3, 0]}, 'val': {'a': [4, 0]}},
            r"video 'a' of split 'val': video 'a' lasts 4\.0 s here and 3\.0 s",
        ),
    ],
)
def test_unusable_index_is_refused(tmp_path, content, message):
    path = tmp_path / 'index.json'
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_video_durations(path)
