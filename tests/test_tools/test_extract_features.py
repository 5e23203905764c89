"""Features of training sets by the recipe of own videos."""

import json

import h5py
import numpy as np
import pytest
from small_videos import grey, write_video
from tiny_encoder import WIDTH
from tiny_inferencer import CLIP, tiny_config, write_srt, write_talks
from tool_processes import run_here

from reloclnet_mm.registry import EXTRACTORS


@pytest.fixture
def folder(tmp_path):
    tiny_config(tmp_path).dump(tmp_path / 'my.py')
    write_talks(tmp_path / 'talks')
    write_srt(tmp_path / 'talks/more/long.srt', 3)
    return tmp_path


def extract(folder, *args, status=0):
    how = ('--recipe', 'my.py', '--out', 'out')
    return run_here(folder, 'extract_features', 'talks', *how, *args, status=status)


def recipe(folder):
    return EXTRACTORS.build(tiny_config(folder).recipe)


def features(folder, name='subtitle'):
    with h5py.File(folder / f'out/{name}.h5') as file:
        return {key: rows[:] for key, rows in file.items()}, dict(file.attrs)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_features_are_those_that_an_index_is_made_of(folder):
    assert 'out: 4 videos, 0 left out' in extract(folder)
    found, about = features(folder)
    assert about['clip_length'] == CLIP
    assert {*found} == {'long', 'short', 'whole', 'more__long'}
    own = recipe(folder)
    for name, rows in found.items():
        content = own.read(folder / f'talks/{name.replace("__", "/")}.srt')
        np.testing.assert_array_equal(rows, own.extract(content).streams['subtitle'])
    assert {x['vid_name']: x['duration'] for x in read(folder / 'out/videos.jsonl')} == dict(
        long=32.0, short=8.0, whole=16.0, more__long=12.0
    )
    said = {x['vid_name']: len(x['sub']) for x in read(folder / 'out/subtitles.jsonl')}
    assert said == dict(long=8, short=2, whole=4, more__long=3)


def test_queries_are_encoded_by_the_same_recipe(folder):
    line = dict(desc_id='q1', desc='a dog runs', vid_name='long', duration=32.0, ts=[0, 4])
    (folder / 'train.jsonl').write_text(json.dumps(line) + '\n')
    assert '1 queries' in extract(folder, '--queries', 'train.jsonl')
    found, _ = features(folder, 'query')
    (expected,) = recipe(folder).encode_queries(['a dog runs'])
    np.testing.assert_allclose(found['q1'], expected, atol=1e-6)


def test_the_same_command_goes_on_where_it_was_stopped(folder, monkeypatch):
    extract(folder)
    write_srt(folder / 'talks/new.srt', 2)
    printed = extract(folder)
    assert '5 videos, 4 of them in out already' in printed
    assert len(features(folder)[0]) == len(read(folder / 'out/videos.jsonl')) == 5


def test_a_file_that_cannot_be_used_does_not_stop_the_others(folder):
    (folder / 'talks/noise.mp4').write_bytes(b'no video')
    write_video(folder / 'talks/silent.mp4', [grey(9)] * 10)
    printed = extract(folder)
    assert 'noise.mp4' in printed
    assert 'silent.mp4: found no sentences, of which subtitle would be made' in printed
    assert 'out: 4 videos, 2 left out' in printed
    assert len(features(folder)[0]) == 4


@pytest.mark.slow
def test_several_processes_write_what_one_does(folder):
    (folder / 'talks/noise.mp4').write_bytes(b'no video')
    extract(folder)
    one, _ = features(folder)
    (folder / 'out').rename(folder / 'one')
    assert 'out: 4 videos, 1 left out' in extract(folder, '--processes', '2')
    two, _ = features(folder)
    assert one.keys() == two.keys()
    assert all(rows.shape[1] == WIDTH for rows in two.values())
    for name, rows in one.items():
        np.testing.assert_allclose(two[name], rows, atol=1e-6)


def test_two_files_of_one_name_and_a_config_without_a_recipe_are_refused(folder):
    (folder / 'talks/long.vtt').write_text('WEBVTT\n\n00:00.000 --> 00:01.000\na dog\n')
    assert "both are named 'long'; rename one" in extract(folder, status=1)
    (folder / 'my.py').write_text('a = 1\n')
    assert 'my.py: has no recipe' in extract(folder, status=1)
