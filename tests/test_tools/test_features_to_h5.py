"""The converter of features: what it reads, joins, resamples and refuses."""

import json

import h5py
import numpy as np
import pytest
from small_layouts import CAPTIONS, write_activitynet
from tiny_corpus import features, write_lines
from tool_processes import run_here

from reloclnet_mm.features import FeatureFile
from reloclnet_mm.features.rows import resample_rows

TOOL = 'dataset_converters/features_to_h5'
CLIPS = dict(a=5, b=7)


def arrays(width, seed=0, clips=CLIPS):
    rng = np.random.default_rng(seed)
    return {name: features(rng, rows, width) for name, rows in clips.items()}


def write_folder(folder, content, save):
    folder.mkdir()
    for name, rows in content.items():
        save(folder / name, rows)
    return folder


def save_npy(path, rows):
    np.save(f'{path}.npy', rows)


def save_npz(path, rows):
    np.savez(f'{path}.npz', features=rows)


def save_csv(path, rows):
    titles = ','.join(f'f{i}' for i in range(rows.shape[1]))
    np.savetxt(f'{path}.csv', rows, '%.9g', delimiter=',', header=titles, comments='')


def save_bare_csv(path, rows):
    np.savetxt(f'{path}.csv', rows, '%.9g', delimiter=',')


def save_padded(path, rows):
    np.save(f'{path}.npy', rows[:, None, None])


def convert(folder, *args, status=0):
    return run_here(folder, TOOL, *args, '--out', 'out.h5', status=status)


def assert_written(folder, expected, **settings):
    file = FeatureFile(folder / 'out.h5')
    assert sorted(file.keys()) == sorted(expected)
    for name, rows in expected.items():
        np.testing.assert_array_equal(file.read(name), rows)
    assert settings.items() <= file.attributes.items()


@pytest.mark.parametrize('save', [save_npy, save_npz, save_csv, save_bare_csv, save_padded])
def test_a_folder_of_files_becomes_an_h5_file_with_its_clip_length(tmp_path, save):
    write_folder(tmp_path / 'clip', arrays(6), save)
    printed = convert(tmp_path, 'clip', '--clip-length', 2)
    assert_written(tmp_path, arrays(6), clip_length=2.0, sources='clip', width=6)
    assert '2 keys, 0 of them in out.h5 already; rows 6 wide' in printed


def test_an_h5_file_with_a_group_a_video(tmp_path):
    with h5py.File(tmp_path / 'c3d.hdf5', 'w') as file:
        for name, rows in arrays(6).items():
            file[f'{name}/c3d_features'] = rows
    convert(tmp_path, 'c3d.hdf5', '--array', 'c3d_features', '--clip-length', 1)
    assert_written(tmp_path, arrays(6), array='c3d_features')
    message = convert(tmp_path, 'c3d.hdf5', '--clip-length', 1, status=1)
    assert "key 'a': found a group, expected an array" in message


def test_sources_are_put_side_by_side_and_cut_to_the_shortest(tmp_path):
    write_folder(tmp_path / 'clip', arrays(2), save_npz)
    slowfast = arrays(3, seed=1, clips=dict(a=5, b=9, stranger=1))
    write_folder(tmp_path / 'slowfast', slowfast, save_npz)
    printed = convert(tmp_path, 'clip', 'slowfast', '--clip-length', 2)
    expected = {
        name: np.concatenate([rows, slowfast[name][: len(rows)]], 1)
        for name, rows in arrays(2).items()
    }
    assert_written(tmp_path, expected, sources='clip slowfast', width=5)
    assert '1 keys differed in length between the sources: cut to the shortest' in printed
    assert 'slowfast: 1 keys, such as stranger, are not in all: left out' in printed


def test_each_source_is_normalized_by_itself_on_demand(tmp_path):
    parts = [arrays(2), arrays(3, seed=1)]
    for name, content in zip(('clip', 'slowfast'), parts, strict=True):
        write_folder(tmp_path / name, content, save_npy)
    convert(tmp_path, 'clip', 'slowfast', '--clip-length', 2, '--normalize')
    for name in CLIPS:
        found = FeatureFile(tmp_path / 'out.h5').read(name)
        expected = [rows[name] / np.linalg.norm(rows[name], axis=1)[:, None] for rows in parts]
        np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-4)


def test_rows_without_a_length_of_their_own_carry_none(tmp_path):
    write_folder(tmp_path / 'i3d', arrays(2), save_npy)
    convert(tmp_path, 'i3d', '--even')
    assert_written(tmp_path, arrays(2))
    assert 'clip_length' not in FeatureFile(tmp_path / 'out.h5').attributes


def test_sources_of_other_lengths_are_refused(tmp_path):
    write_folder(tmp_path / 'clip', arrays(2), save_npy)
    write_folder(tmp_path / 'i3d', arrays(3, clips=dict(a=5, b=10)), save_npy)
    message = convert(tmp_path, 'clip', 'i3d', '--clip-length', 2, status=1)
    assert "key 'b': found {'clip': 7, 'i3d': 10} rows, expected lengths that" in message


def test_tokens_of_queries_keep_their_ids(tmp_path):
    tokens = arrays(4, clips=dict(qid7=3, qid12=5))

    def save(path, rows):
        np.savez(f'{path}.npz', last_hidden_state=rows, pooler_output=rows[0])

    write_folder(tmp_path / 'text', tokens, save)
    options = ('--queries', '--remove-prefix', 'qid')
    message = convert(tmp_path, 'text', *options, status=1)
    assert message.count('found') == 1
    assert "found the arrays ['last_hidden_state', 'pooler_output']; choose one by" in message
    convert(tmp_path, 'text', *options, '--array', 'last_hidden_state')
    assert_written(tmp_path, {'7': tokens['qid7'], '12': tokens['qid12']})


def test_a_stopped_run_goes_on_and_new_videos_are_added(tmp_path):
    write_folder(tmp_path / 'clip', arrays(6, clips=dict(a=5)), save_npy)
    convert(tmp_path, 'clip', '--clip-length', 2)
    save_npy(tmp_path / 'clip' / 'b', arrays(6)['b'])
    printed = convert(tmp_path, 'clip', '--clip-length', 2)
    assert_written(tmp_path, arrays(6))
    assert '2 keys, 1 of them in out.h5 already' in printed
    message = convert(tmp_path, 'clip', '--clip-length', 1.5, status=1)
    assert 'made with other settings: clip_length 2.0 there, 1.5 now' in message


def test_a_run_with_other_sources_or_options_adds_nothing(tmp_path):
    for folder, name in (('old', 'a'), ('new', 'b')):
        (tmp_path / folder).mkdir()
        write_folder(tmp_path / folder / 'clip', {f'v_{name}': arrays(6)[name]}, save_npy)
    options = ('--clip-length', 2, '--remove-prefix', 'v_')
    convert(tmp_path, 'old/clip', *options, '--normalize')
    before = (tmp_path / 'out.h5').read_bytes()
    message = convert(tmp_path, 'new/clip', *options, '--normalize', status=1)
    assert 'other settings: sources old/clip there, new/clip now. Use the same' in message
    message = convert(tmp_path, 'old/clip', '--clip-length', 2, '--normalize', status=1)
    assert 'other settings: removed_prefix v_ there, not set now. Use' in message
    message = convert(tmp_path, 'old/clip', *options, status=1)
    assert 'other settings: normalized each source there, not set now. Use' in message
    assert (tmp_path / 'out.h5').read_bytes() == before


def test_rows_that_divide_a_video_become_clips_of_a_length(tmp_path):
    clips = {'v_uqiMw7tQ1Cc': 100, 'v_bXdq2zI1Ms0': 100, 'v_stranger': 100}
    rows = arrays(4, clips=clips)
    write_folder(tmp_path / 'bmn', rows, save_csv)
    write_activitynet(tmp_path)
    printed = convert(
        tmp_path,
        *('bmn', '--clip-length', 2, '--resample', 'train.json'),
        *('--reader', 'ActivityNetCaptionsReader'),
    )
    expected = {
        name: resample_rows(rows[name], entry['duration'], 2.0) for name, entry in CAPTIONS.items()
    }
    assert {name: len(x) for name, x in expected.items()} == dict(
        v_uqiMw7tQ1Cc=28, v_bXdq2zI1Ms0=37
    )
    assert_written(tmp_path, expected, clip_length=2.0, resampled='by duration')
    assert FeatureFile(tmp_path / 'out.h5').attributes['reader'] == 'ActivityNetCaptionsReader'
    assert '1 names are not in the list of videos: left out; 0 videos of the list' in printed


def test_a_second_list_of_videos_adds_its_videos(tmp_path):
    clips = arrays(4)
    write_folder(tmp_path / 'even', clips, save_npy)
    for name, duration in (('a', 4.0), ('b', 6.0)):
        write_lines(tmp_path / f'{name}.jsonl', [dict(vid_name=name, duration=duration)])
        convert(tmp_path, 'even', '--clip-length', 2, '--resample', f'{name}.jsonl')
    expected = dict(a=resample_rows(clips['a'], 4.0, 2.0), b=resample_rows(clips['b'], 6.0, 2.0))
    assert_written(tmp_path, expected, resampled='by duration', reader='TVRReader')


def test_names_that_the_list_of_videos_has_not_are_shown(tmp_path):
    write_folder(tmp_path / 'clip', arrays(4), save_npy)
    write_lines(tmp_path / 'videos.jsonl', [dict(vid_name='x_a', duration=9)])
    options = ('--clip-length', 2, '--resample', 'videos.jsonl')
    message = convert(tmp_path, 'clip', *options, status=1)
    assert 'no name of the features, such as a; expected names such as x_a' in message


# Files that cannot be used.


def save_objects(path, rows):
    np.save(f'{path}.npy', np.array([rows, None], object))


def save_damaged(path, rows):
    path.with_suffix('.npz').write_bytes(b'PK\x03\x04 damaged')


def save_words(path, rows):
    path.with_suffix('.csv').write_text('f0,f1\n1,two\n')


def save_row_of(first):
    def save(path, rows):
        path.with_suffix('.csv').write_text(f'{first},2\n3,4\n')

    return save


def save_damaged_row(path, rows):
    """Write a compressed array whose first byte names no kind of compressed block."""
    file = path.with_suffix('.npz')
    np.savez_compressed(file, features=rows)
    content = bytearray(file.read_bytes())
    header = (
        30 + int.from_bytes(content[26:28], 'little') + int.from_bytes(content[28:30], 'little')
    )
    content[header] |= 0b110
    file.write_bytes(content)


def save_encrypted(path, rows):
    """Write an array that is marked as encrypted."""
    file = path.with_suffix('.npz')
    np.savez(file, features=rows)
    content = bytearray(file.read_bytes())
    content[content.rindex(b'PK\x01\x02') + 8] |= 1
    file.write_bytes(content)


def save_empty(path, rows):
    path.with_suffix('.npy').write_bytes(b'')


def save_cube(path, rows):
    np.save(f'{path}.npy', np.zeros((2, 3, 4)))


def save_nan(path, rows):
    np.save(f'{path}.npy', rows * np.nan)


def save_texts(path, rows):
    np.save(f'{path}.npy', np.array([['a']]))


@pytest.mark.parametrize(
    ('save', 'message'),
    [
        (save_objects, r'a.npy: found no array of numbers that can be read (Object arrays cannot'),
        (save_damaged, 'a.npz: found no array of numbers that can be read ('),
        (save_words, 'a.csv: found no array of numbers that can be read ('),
        (save_row_of('nan'), 'a.csv: found NaN or infinity in row 0'),
        (save_row_of('-inf'), 'a.csv: found NaN or infinity in row 0'),
        (save_damaged_row, 'a.npz: found no array of numbers that can be read (Error -3'),
        (save_encrypted, 'a.npz: found no array of numbers that can be read ('),
        (save_empty, 'a.npy: found no array of numbers that can be read ('),
        (save_cube, 'a.npy: found an array of shape (2, 3, 4), expected (rows, channels)'),
        (save_nan, 'a.npy: found NaN or infinity in row 0'),
        (save_texts, 'a.npy: found values of the type <U1, expected numbers'),
    ],
)
def test_a_file_that_holds_no_features_is_named_and_nothing_is_written(tmp_path, save, message):
    write_folder(tmp_path / 'clip', arrays(4), save)
    assert message in convert(tmp_path, 'clip', '--clip-length', 2, status=1)
    assert not (tmp_path / 'out.h5').exists()


def test_an_array_that_a_file_lacks_is_named(tmp_path):
    write_folder(tmp_path / 'clip', arrays(4), save_npz)
    options = ('--array', 'rgb', '--clip-length', 2)
    message = convert(tmp_path, 'clip', *options, status=1)
    assert "a.npz: found the arrays ['features'], expected 'rgb' among them" in message


def test_a_video_with_two_files_or_another_width_is_named(tmp_path):
    folder = write_folder(tmp_path / 'clip', arrays(4), save_npy)
    save_npy(folder / 'b', arrays(5)['b'])
    message = convert(tmp_path, 'clip', '--clip-length', 2, status=1)
    assert "key 'b': found rows 5 wide, expected 4 as of 'a'" in message
    save_npz(folder / 'a', arrays(4)['a'])
    message = convert(tmp_path, 'clip', '--clip-length', 2, status=1)
    assert "a.npz: a.npy has features of 'a' too; remove one" in message


def test_folders_that_share_nothing_or_are_empty_are_named(tmp_path):
    write_folder(tmp_path / 'clip', arrays(4), save_npy)
    write_folder(tmp_path / 'i3d', dict(x=arrays(4)['a']), save_npy)
    (tmp_path / 'empty').mkdir()
    options = ('--clip-length', 2)
    assert 'no key is in all of them' in convert(tmp_path, 'clip', 'i3d', *options, status=1)
    assert 'empty: found no .npy, .npz or .csv' in convert(tmp_path, 'empty', *options, status=1)
    assert 'nowhere: no such file' in convert(tmp_path, 'nowhere', *options, status=1)


@pytest.mark.parametrize(
    'options',
    [
        (),
        ('--clip-length', 0),
        ('--queries', '--clip-length', 1),
        ('--queries', '--resample', 'x.json'),
        ('--even', '--resample', 'x.json'),
    ],
)
def test_options_that_make_no_sense_end_with_the_usage(tmp_path, options):
    assert 'usage: ' in convert(tmp_path, 'clip', *options, status=2)


def test_prefixes_whose_removal_mixes_up_two_keys_are_refused(tmp_path):
    write_folder(tmp_path / 'clip', dict(a=arrays(4)['a'], va=arrays(4)['a']), save_npy)
    options = ('--clip-length', 2, '--remove-prefix', 'v')
    message = convert(tmp_path, 'clip', *options, status=1)
    assert '--remove-prefix v: makes the names of two keys the same' in message


def test_the_settings_in_the_file_are_plain(tmp_path):
    write_folder(tmp_path / 'clip', arrays(4), save_npy)
    convert(tmp_path, 'clip', '--clip-length', 2, '--dtype', 'float16')
    attributes = FeatureFile(tmp_path / 'out.h5').attributes
    assert json.loads(json.dumps(attributes)) == dict(
        sources='clip', clip_length=2.0, width=4, dtype='float16'
    )
