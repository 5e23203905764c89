"""Files that are replaced as a whole, and what is said when they cannot be written."""

import json
import os
import stat

import numpy as np
import pytest
from tool_processes import full_disk

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.h5_output import H5Output
from reloclnet_mm.utils.fileio import replace_file, write_json, write_jsonl, write_text


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def write_h5(path):
    with replace_file(path) as temporary, H5Output(temporary) as file:
        for i in range(100):
            file[str(i)] = np.ones((100, 100))


def test_texts_and_objects_are_written_in_new_folders(tmp_path):
    write_text(tmp_path / 'x/y/a.txt', 'é\n')
    write_json(tmp_path / 'x/b.json', {'é': [1]}, indent=1)
    write_jsonl(tmp_path / 'c.jsonl', [{'a': 'é'}, {'b': 2}])
    assert (tmp_path / 'x/y/a.txt').read_bytes() == 'é\n'.encode()
    assert json.loads((tmp_path / 'x/b.json').read_bytes()) == {'é': [1]}
    assert (tmp_path / 'c.jsonl').read_bytes() == '{"a": "é"}\n{"b": 2}\n'.encode()
    assert names_in(tmp_path) == ['c.jsonl', 'x']


@pytest.mark.parametrize(
    'write', [lambda path: write_text(path, 'x' * 10_000), write_h5], ids=['text', 'h5']
)
def test_a_full_disk_is_one_message_and_leaves_the_old_file_alone(write, tmp_path):
    path = tmp_path / 's.json'
    path.write_text('old')
    with full_disk(4096), pytest.raises(InputError, match=r'written \(File too large\); make room'):
        write(path)
    assert path.read_text() == 'old'
    assert names_in(tmp_path) == ['s.json']


@pytest.mark.parametrize('moment', ['fsync', 'replace'])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(moment, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    write_text(tmp_path / 'a', 'old')
    monkeypatch.setattr(os, moment, stop)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / 'a', 'new')
    assert names_in(tmp_path) == ['a']
    assert (tmp_path / 'a').read_text() == 'old'


def test_a_link_keeps_pointing_to_the_file_that_is_replaced(tmp_path):
    write_text(tmp_path / 'target', 'old')
    (tmp_path / 'link').symlink_to('target')
    write_text(tmp_path / 'link', 'new')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'target').read_text() == 'new'


def test_a_file_gets_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / 'plain').touch()
    write_text(tmp_path / 'a', 'x')
    assert len({stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}) == 1


def test_a_folder_a_device_and_a_file_in_a_file_are_no_place_to_write(tmp_path):
    (tmp_path / 'file').touch()
    for path, what in (
        (tmp_path, 'is not a regular file'),
        ('/dev/full', 'is not a regular file'),
        (tmp_path / 'file/b/c', r'cannot be written \(Not a directory\)'),
    ):
        with pytest.raises(InputError, match=f'{path}: {what}'):
            write_text(path, 'x')


def test_an_error_of_another_file_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match='absent'), replace_file(tmp_path / 'a/b'):
        (tmp_path / 'absent').read_text()
    assert names_in(tmp_path) == ['a']
    assert names_in(tmp_path / 'a') == []
