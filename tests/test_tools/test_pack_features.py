"""The tool that packs features: what it writes, says and refuses."""

import h5py
import numpy as np
import pytest
from tool_processes import full_disk, load_tool

from reloclnet_mm.features import PackedFeatures, open_features


@pytest.fixture(scope='module')
def tool():
    return load_tool('pack_features')


@pytest.fixture
def run(tool, folder, monkeypatch, capsys):
    """What the tool prints, run in the folder."""

    def call(*args):
        monkeypatch.chdir(folder)
        tool.main(list(args))
        printed = capsys.readouterr()
        call.errors = lambda: printed.err
        return printed.out

    return call


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / 'video.h5', 'w') as file:
        for i in range(30):
            file[f'video_{i}'] = rng.standard_normal((1 + i % 4, 5), dtype=np.float32)
    return tmp_path


def largest_error(folder):
    with h5py.File(folder / 'video.h5') as file:
        values = np.concatenate([rows[:] for rows in file.values()])
    return np.abs(values - values.astype(np.float16).astype(np.float32)).max()


def test_packing_prints_progress_size_and_rounding(run, folder):
    printed = run('video.h5', 'video.pack', '--dtype', 'float16').splitlines()
    assert printed[0] == 'video.pack: 30 keys, 73 rows of 5 float16, 0.0 MB'
    assert f'largest rounding error {largest_error(folder):g} (key ' in printed[1]
    assert run.errors() == '30 of 30 keys\n'
    with h5py.File(folder / 'video.h5') as file:
        expected = file['video_7'][:].astype(np.float16)
    np.testing.assert_array_equal(PackedFeatures(folder / 'video.pack').read('video_7'), expected)


def test_a_store_is_replaced_only_with_overwrite(run, folder):
    run('video.h5', 'video.pack', '--dtype', 'float16')
    with pytest.raises(SystemExit, match=r'^error: video\.pack: already there'):
        run('video.h5', 'video.pack')
    assert PackedFeatures(folder / 'video.pack').dtype == np.float16
    assert 'nothing was rounded' in run('video.h5', 'video.pack', '--overwrite')
    assert PackedFeatures(folder / 'video.pack').dtype == np.float32


def test_a_store_can_be_packed_again_into_itself(run, folder):
    run('video.h5', 'video.pack')
    expected = np.load(folder / 'video.pack/rows.npy').astype(np.float16)
    run('video.pack', 'video.pack', '--dtype', 'float16', '--overwrite')
    np.testing.assert_array_equal(np.load(folder / 'video.pack/rows.npy'), expected)


def test_settings_of_the_features_are_kept(run, folder):
    with h5py.File(folder / 'video.h5', 'r+') as file:
        file.attrs.update(clip_length=1.5, encoder='words', sizes=[1, 2])
    run('video.h5', 'video.pack')
    run('video.pack', 'again.pack')
    for name in ('video.h5', 'video.pack', 'again.pack'):
        attributes = open_features(folder / name).attributes
        assert attributes == dict(clip_length=1.5, encoder='words')
        assert type(attributes['clip_length']) is float


def test_verification_says_whether_a_store_is_as_it_was_packed(run, folder):
    run('video.h5', 'video.pack')
    assert run('--verify', 'video.pack') == (
        'video.pack: as it was packed: 30 keys, 73 rows of 5 float32, 0.0 MB\n'
    )
    rows = np.load(folder / 'video.pack' / 'rows.npy')
    rows[72, 4] += 1
    np.save(folder / 'video.pack' / 'rows.npy', rows)
    with pytest.raises(SystemExit, match=r'^error: video\.pack/rows\.npy: found the checksum'):
        run('--verify', 'video.pack')


def test_features_that_are_not_finite_are_named_and_leave_nothing(run, folder):
    with h5py.File(folder / 'video.h5', 'r+') as file:
        file['video_7'][2, 1] = np.nan
    with pytest.raises(SystemExit, match=r"^error: video\.h5: key 'video_7': found NaN .* row 2"):
        run('video.h5', 'video.pack')
    assert [path.name for path in folder.iterdir()] == ['video.h5']


@pytest.mark.parametrize(
    'args', [[], ['video.h5'], ['video.h5', 'x.pack', '--verify', 'x.pack'], ['x', '--verify', 'x']]
)
def test_other_than_a_source_and_a_target_or_a_store_is_refused(run, args, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*args)
    assert caught.value.code == 2
    assert 'give IN.h5 and OUT.pack, or --verify STORE' in capsys.readouterr().err


def test_an_absent_file_is_named(run):
    with pytest.raises(SystemExit, match=r'^error: absent\.h5: no such file'):
        run('absent.h5', 'x.pack')


def test_a_full_disk_is_one_message_and_leaves_nothing(run, folder):
    with h5py.File(folder / 'video.h5', 'r+') as file:
        file['long'] = np.ones((2000, 5), np.float32)
    with (
        full_disk(20_000),
        pytest.raises(SystemExit, match=r'^error: video\.pack: cannot be written \(File too'),
    ):
        run('video.h5', 'video.pack')
    assert [path.name for path in folder.iterdir()] == ['video.h5']
