import multiprocessing
import resource
from pathlib import Path

import h5py
import numpy as np
import pytest

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.writer import FeatureWriter, source_setting

SETTINGS = {'kind': 'queries', 'encoder': 'x', 'max_tokens': 64, 'clip_length': 1.5}


def rows(value, count=2):
    return np.full((count, 3), value, np.float32)


def read_all(path):
    with h5py.File(path) as file:
        return {key: file[key][()].tolist() for key in file}


def parts(path):
    return sorted(p.name for p in path.with_name(f'{path.name}.parts').glob('*'))


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'deep/er/query.h5'


def test_written_features_are_read_back_with_settings(path):
    writer = FeatureWriter(path, SETTINGS, 'float32')
    writer.write({'1': rows(1), '2': rows(2, 5)})
    writer.write({'3': rows(3)})
    writer.finish()
    assert read_all(path) == {
        '1': rows(1).tolist(),
        '2': rows(2, 5).tolist(),
        '3': rows(3).tolist(),
    }
    with h5py.File(path) as file:
        assert dict(file.attrs) == {**SETTINGS, 'dtype': 'float32'}
    assert [p.name for p in path.parent.iterdir()] == ['query.h5']


def test_file_appears_only_when_finished(path):
    writer = FeatureWriter(path, SETTINGS, 'float32')
    writer.write({'1': rows(1)})
    assert not path.exists()
    writer.finish()
    assert path.exists()


def test_next_run_goes_on_from_the_parts(path):
    FeatureWriter(path, SETTINGS, 'float32').write({'1': rows(1)})
    writer = FeatureWriter(path, SETTINGS, 'float32')
    assert writer.missing(['3', '1', '2']) == ['3', '2']
    writer.write({'2': rows(2), '3': rows(3)})
    assert parts(path) == ['000000.h5', '000001.h5']
    writer.finish()
    assert read_all(path) == {key: rows(int(key)).tolist() for key in '123'}


def test_finished_file_is_extended(path):
    writer = FeatureWriter(path, SETTINGS, 'float32')
    writer.write({'1': rows(1)})
    writer.finish()
    writer = FeatureWriter(path, SETTINGS, 'float32')
    assert writer.missing(['1', '2']) == ['2']
    writer.write({'2': rows(2)})
    writer.finish()
    assert read_all(path) == {'1': rows(1).tolist(), '2': rows(2).tolist()}


def test_finished_file_without_news_is_left_alone(path):
    writer = FeatureWriter(path, SETTINGS, 'float32')
    writer.write({'1': rows(1)})
    writer.finish()
    before = path.stat()
    FeatureWriter(path, SETTINGS, 'float32').finish()
    assert path.stat().st_ino == before.st_ino


def test_parts_left_by_a_kill_after_gathering_do_no_harm(path):
    writer = FeatureWriter(path, SETTINGS, 'float32')
    writer.write({'1': rows(1)})
    kept = {p: p.read_bytes() for p in writer.parts_dir.iterdir()}
    writer.finish()
    writer.parts_dir.mkdir()
    for part, content in kept.items():
        part.write_bytes(content)
    writer = FeatureWriter(path, SETTINGS, 'float32')
    assert writer.missing(['1', '2']) == ['2']
    writer.finish()
    assert read_all(path) == {'1': rows(1).tolist()}
    assert parts(path) == []


@pytest.mark.parametrize('share', [0.0, 0.5])
def test_part_cut_short_is_made_again(path, share):
    writer = FeatureWriter(path, SETTINGS, 'float32')
    writer.write({'1': rows(1)})
    writer.write({'2': rows(2, 500)})
    part = writer.parts_dir / '000001.h5'
    part.write_bytes(part.read_bytes()[: int(share * part.stat().st_size)])
    writer = FeatureWriter(path, SETTINGS, 'float32')
    assert writer.missing(['1', '2']) == ['2']
    writer.write({'2': rows(2)})
    writer.finish()
    assert read_all(path) == {'1': rows(1).tolist(), '2': rows(2).tolist()}


def test_temporary_files_of_a_killed_run_are_removed(path):
    writer = FeatureWriter(path, SETTINGS, 'float32')
    writer.parts_dir.mkdir(parents=True)
    (writer.parts_dir / '.000000.h5.1234.partial').write_text('half a part')
    (writer.parts_dir / '.whole.h5.1234.partial').write_text('half a file')
    (writer.parts_dir / 'whole.h5').write_text('a file without its name')
    writer = FeatureWriter(path, SETTINGS, 'float32')
    writer.write({'1': rows(1)})
    writer.finish()
    assert read_all(path) == {'1': rows(1).tolist()}
    assert [p.name for p in path.parent.iterdir()] == ['query.h5']


@pytest.mark.parametrize('finished', [False, True])
def test_other_settings_are_refused_by_name(path, finished):
    writer = FeatureWriter(path, SETTINGS, 'float32')
    writer.write({'1': rows(1)})
    if finished:
        writer.finish()
    with pytest.raises(InputError, match='made with other settings: ') as error:
        FeatureWriter(path, {**SETTINGS, 'max_tokens': 32, 'clip_length': 2.0}, 'float16')
    message = str(error.value)
    assert 'max_tokens 64 there, 32 now' in message
    assert 'clip_length 1.5 there, 2.0 now' in message
    assert 'dtype float32 there, float16 now' in message
    assert 'encoder' not in message


def test_a_setting_that_the_file_has_and_the_run_has_not_is_refused(path):
    FeatureWriter(path, SETTINGS, 'float32').write({'1': rows(1)})
    fewer = {name: SETTINGS[name] for name in ('kind', 'encoder', 'max_tokens')}
    with pytest.raises(InputError, match=r'settings: clip_length 1\.5 there, not set now'):
        FeatureWriter(path, fewer, 'float32')


def test_sources_are_named_as_seen_from_the_file(tmp_path, monkeypatch):
    (tmp_path / 'data').mkdir()
    monkeypatch.chdir(tmp_path)
    sources = [Path('data/a'), tmp_path / 'b/c']
    assert source_setting(sources, Path('data/out.h5')) == 'a ../b/c'
    monkeypatch.chdir(tmp_path / 'data')
    assert source_setting([Path('a'), Path('../b/c')], Path('out.h5')) == 'a ../b/c'


def test_file_of_another_origin_is_refused(path):
    path.parent.mkdir(parents=True)
    with h5py.File(path, 'w') as file:
        file['1'] = rows(1)
    with pytest.raises(InputError, match='encoder not recorded there, x now'):
        FeatureWriter(path, SETTINGS, 'float32')
    assert read_all(path) == {'1': rows(1).tolist()}


def test_file_that_is_no_h5_is_refused_and_kept(path):
    path.parent.mkdir(parents=True)
    path.write_text('precious')
    with pytest.raises(InputError, match=r'query\.h5: not an h5 file'):
        FeatureWriter(path, SETTINGS, 'float32')
    assert path.read_text() == 'precious'


@pytest.mark.parametrize(
    ('value', 'dtype', 'found'),
    [
        (np.nan, 'float32', 'NaN or infinity in row 0'),
        (1e30, 'float32', r'1e\+30 in row 0'),
        (1e6, 'float16', r'1e\+06 in row 0, expected at most 65504 in float16'),
    ],
)
def test_features_that_could_not_be_read_are_refused(path, value, dtype, found):
    writer = FeatureWriter(path, SETTINGS, dtype)
    with pytest.raises(InputError, match=rf"query\.h5: key '1': found {found}"):
        writer.write({'0': rows(0), '1': rows(value)})
    with pytest.raises(InputError, match="key '1': found no rows"):
        writer.write({'0': rows(0), '1': rows(1)[:0]})
    assert writer.missing(['0', '1']) == ['0', '1']


def fill_the_disk(path, answers):
    writer = FeatureWriter(path, SETTINGS, 'float32')
    for i in range(5):
        writer.write({str(i): rows(i, 1000)})
    # Where no file can be longer, writing fails as it does on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    for work in (lambda: writer.write({'5': rows(5, 5000)}), writer.finish):
        try:
            work()
        except InputError as error:
            answers.put(str(error))


def test_a_full_disk_is_one_message_and_loses_nothing(path):
    context = multiprocessing.get_context('spawn')
    answers = context.Queue()
    child = context.Process(target=fill_the_disk, args=(path, answers))
    child.start()
    messages = [answers.get(timeout=60) for _ in range(2)]
    child.join()
    assert 'query.h5.parts/000005.h5: cannot be written (File too large)' in messages[0]
    assert 'query.h5.parts/whole.h5: cannot be written (File too large)' in messages[1]
    assert parts(path) == [f'00000{i}.h5' for i in range(5)]
    FeatureWriter(path, SETTINGS, 'float32').finish()
    assert read_all(path).keys() == set('01234')


def test_half_precision_is_stored_as_such(path):
    writer = FeatureWriter(path, SETTINGS, 'float16')
    writer.write({'1': rows(0.1)})
    writer.finish()
    with h5py.File(path) as file:
        assert file['1'].dtype == np.float16


@pytest.mark.parametrize('key', ['a/b', '', '.'])
def test_names_that_h5_cannot_hold_are_refused_before_any_work(path, key):
    with pytest.raises(InputError, match='cannot be a key of an h5 file'):
        FeatureWriter(path, SETTINGS, 'float32').missing(['fine', key])


def test_unknown_dtype_is_refused(path):
    with pytest.raises(InputError, match="dtype 'int8', expected float32 or float16"):
        FeatureWriter(path, SETTINGS, 'int8')
