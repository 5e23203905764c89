"""A packed store is written as a whole or not at all, and nothing that was there is lost."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from reloclnet_mm.errors import InputError
from reloclnet_mm.features import PackedFeatures, open_features
from reloclnet_mm.features.packed_writer import write_packed


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    scales = 10.0 ** rng.integers(-8, 4, size=(9, 1))
    rows = rng.standard_normal((9, 6)) * scales
    return dict(zip('dacb', np.split(rows.astype(np.float32), [1, 4, 6]), strict=True))


@pytest.fixture
def store(tmp_path, arrays):
    write_packed(tmp_path / 'video.pack', arrays.items())
    return tmp_path / 'video.pack'


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_nan_and_infinity_are_refused(tmp_path, bad, dtype):
    rows = np.ones((4, 3), np.float32)
    rows[2, 1] = bad
    features = [('good', np.ones((1, 3))), ('bad', rows)]
    with pytest.raises(InputError, match="key 'bad': found NaN or infinity in row 2"):
        write_packed(tmp_path / 'x.pack', features, dtype)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_float16_is_packed_and_what_rounds_beyond_it_is_refused(tmp_path):
    # half of the last step above 65504 is 16; a tie would round to the even neighbour, infinity
    fits = np.nextafter(np.float32(65520), np.float32(0))
    write_packed(tmp_path / 'x.pack', [('x', np.array([[fits], [-fits]]))], 'float16')
    assert PackedFeatures(tmp_path / 'x.pack').read('x').tolist() == [[65504], [-65504]]
    for beyond in (65520, -65520):
        rows = np.array([[1], [beyond]], np.float32)
        with pytest.raises(InputError, match="key 'y': found 65520 in row 1, expected at most"):
            write_packed(tmp_path / 'y.pack', [('y', rows)], 'float16')


@pytest.mark.parametrize(
    ('features', 'words'),
    [
        ([], 'found no keys'),
        ([('a', np.ones((0, 3)))], "key 'a': found no rows"),
        ([('a', np.ones(3))], r"key 'a': found an array of shape \(3,\)"),
        ([('a', np.ones((2, 3))), ('b', np.ones((2, 4)))], "key 'b': found rows 4 wide, expected"),
        ([('a', np.ones((2, 3))), ('a', np.ones((2, 3)))], "key 'a': found it twice"),
    ],
)
def test_features_that_make_no_store_are_refused_and_leave_nothing(tmp_path, features, words):
    with pytest.raises(InputError, match=words):
        write_packed(tmp_path / 'x.pack', features)
    assert list(tmp_path.iterdir()) == []


def test_any_text_can_be_a_key(tmp_path):
    arrays = {key: np.full((1, 1), i) for i, key in enumerate(['', 'a/b', 'ü', '\udc80', '0\n'])}
    write_packed(tmp_path / 'x.pack', arrays.items())
    features = PackedFeatures(tmp_path / 'x.pack')
    assert {key: features.read(key).item() for key in features.keys()} == {  # noqa: SIM118
        key: array.item() for key, array in arrays.items()
    }


def test_rows_that_are_not_contiguous_are_packed_as_they_look(tmp_path):
    rows = np.arange(24, dtype=np.float32).reshape(4, 6).T[::2]
    write_packed(tmp_path / 'x.pack', [('x', rows)])
    np.testing.assert_array_equal(PackedFeatures(tmp_path / 'x.pack').read('x'), rows)


def test_a_store_is_replaced_only_if_asked(store, arrays):
    with pytest.raises(InputError, match=r'already there, or .* use --overwrite'):
        write_packed(store, [('x', np.ones((2, 2)))])
    np.testing.assert_array_equal(PackedFeatures(store).read('a'), arrays['a'])
    reader = PackedFeatures(store)
    reader.read('a')
    write_packed(store, [('x', np.ones((2, 2)))], overwrite=True)
    assert PackedFeatures(store).keys() == ['x']
    # who has the old one open goes on with it
    np.testing.assert_array_equal(reader.read('a'), arrays['a'])


def test_a_run_killed_between_its_last_two_steps_loses_nothing(store, arrays):
    old = store.rename(store.with_name('video.pack.replaced'))
    with pytest.raises(InputError, match=r'video\.pack\.replaced: .* left by an interrupted run'):
        write_packed(store, [('x', np.ones((2, 2)))])
    with pytest.raises(InputError, match='NaN'):
        write_packed(store, [('x', np.full((2, 2), np.nan))], overwrite=True)
    np.testing.assert_array_equal(PackedFeatures(store).read('a'), arrays['a'])
    store.rename(old)
    write_packed(store, [('x', np.ones((2, 2)))], overwrite=True)
    assert PackedFeatures(store).keys() == ['x']
    assert os.listdir(store.parent) == [store.name]


def test_a_file_put_into_the_store_while_it_is_replaced_is_kept(store):
    def features():
        yield 'x', np.ones((2, 2))
        (store / 'thesis.txt').write_text('years')

    with pytest.raises(InputError, match='Directory not empty'):
        write_packed(store, features(), overwrite=True)
    assert PackedFeatures(store).keys() == ['x']
    assert (store.with_name('video.pack.replaced') / 'thesis.txt').read_text() == 'years'


def test_a_folder_with_other_files_is_never_replaced(store):
    (store / 'thesis.txt').write_text('years')
    for overwrite in (False, True):
        with pytest.raises(InputError, match='found something other than a packed store'):
            write_packed(store, [('x', np.ones((2, 2)))], overwrite=overwrite)
    assert (store / 'thesis.txt').read_text() == 'years'
    with pytest.raises(InputError, match='found something other than a packed store'):
        write_packed(store / 'thesis.txt', [('x', np.ones((2, 2)))], overwrite=True)


def test_a_failure_leaves_the_store_that_was_there(store, arrays):
    features = [('x', np.ones((2, 2))), ('y', np.full((2, 2), np.nan))]
    with pytest.raises(InputError, match='NaN'):
        write_packed(store, features, overwrite=True)
    PackedFeatures(store).verify()
    np.testing.assert_array_equal(PackedFeatures(store).read('a'), arrays['a'])
    assert os.listdir(store.parent) == [store.name]


def test_a_link_to_a_store_stays_a_link(store):
    link = store.with_name('link.pack')
    link.symlink_to(store)
    write_packed(link, [('x', np.ones((2, 2)))], overwrite=True)
    assert link.is_symlink()
    assert PackedFeatures(store).keys() == ['x']


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot be written'):
        write_packed(tmp_path / 'file' / 'x.pack', [('x', np.ones((2, 2)))])


@pytest.mark.skipif(
    'fork' not in multiprocessing.get_all_start_methods(), reason='no fork on this platform'
)
def test_a_kill_in_the_middle_leaves_no_store_and_says_what_is_left(tmp_path):
    context = multiprocessing.get_context('fork')
    written = context.Event()

    def features():
        # more than what a file object holds back
        yield 'a', np.ones((100, 1000))
        written.set()
        time.sleep(60)
        yield 'b', np.ones((100, 1000))

    target = tmp_path / 'x.pack'
    child = context.Process(target=lambda: write_packed(target, features()))
    child.start()
    assert written.wait(timeout=30)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert os.listdir(tmp_path) == ['x.pack.partial']
    with pytest.raises(InputError, match='no such file'):
        open_features(target).read('a')
    with pytest.raises(InputError, match='not a packed feature store'):
        open_features(tmp_path / 'x.pack.partial').read('a')

    with pytest.raises(InputError, match=r'x\.pack\.partial: .* left by an interrupted run'):
        write_packed(target, [('a', np.ones((2, 2)))])
    write_packed(target, [('a', np.ones((2, 2)))], overwrite=True)
    assert os.listdir(tmp_path) == ['x.pack']
