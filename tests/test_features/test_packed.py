"""A packed store gives what the h5 file gives, and stops where it is damaged."""

import json
import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from tiny_corpus import CHANNELS, FILES, query_dataset

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.h5 import FeatureFile
from reloclnet_mm.features.packed import (
    PackedFeatures,
    array_header,
    open_features,
    verify_packed,
)
from reloclnet_mm.features.packed_writer import write_packed
from reloclnet_mm.registry import DATASETS

LOAD_BOTH = [
    dict(type='reloclnet_mm.LoadQueryFeatures', max_tokens=3),
    dict(type='reloclnet_mm.LoadClipFeatures', stream='video'),
]
needs_fork = pytest.mark.skipif(
    'fork' not in multiprocessing.get_all_start_methods(), reason='no fork on this platform'
)


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


def pack_file(h5_path, dtype='float32'):
    """A store beside an h5 file with the same features."""
    file = FeatureFile(h5_path)
    target = h5_path.with_suffix('.pack')
    write_packed(target, ((key, file.read(key)) for key in file.keys()), dtype)  # noqa: SIM118
    return target


def edit_index(store, **changes):
    path = store / 'index.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def write_offsets(store, offsets):
    np.save(store / 'offsets.npy', np.array(offsets, np.int64))


def assert_refused(store, *parts):
    with pytest.raises(InputError) as caught:
        PackedFeatures(store).read('a')
    for part in (str(store), *parts, 'again'):
        assert part in str(caught.value)


# --- what is read


def test_float32_comes_back_bit_for_bit(store, arrays):
    features = PackedFeatures(store)
    assert features.keys() == list(arrays)
    for key, expected in arrays.items():
        rows = features.read(key)
        assert rows.dtype == np.float32
        assert rows.tobytes() == expected.tobytes()
        assert features.num_rows(key) == len(expected)


def test_float16_comes_back_within_half_a_unit_in_the_last_place(tmp_path):
    # all magnitudes that float16 has: normal ones have 11 digits, the others steps of 2^-24
    rng = np.random.default_rng(1)
    values = rng.uniform(1, 2, (400, 200)) * 2.0 ** rng.integers(-30, 15, (400, 200))
    values = values.astype(np.float32)
    summary = write_packed(tmp_path / 'x.pack', [('x', values)], 'float16')
    rows = PackedFeatures(tmp_path / 'x.pack').read('x')
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, values.astype(np.float16).astype(np.float32))
    exponents = np.floor(np.log2(np.abs(values)))
    errors = np.abs(rows - values)
    assert (errors <= 2.0 ** np.maximum(exponents - 11, -25)).all()
    assert summary.largest_error == errors.max()
    assert summary.error_at == f"key 'x', row {errors.max(1).argmax()}"


def test_the_arrays_on_disk_are_npy_files_in_the_order_of_the_names(store, arrays):
    rows, offsets = np.load(store / 'rows.npy'), np.load(store / 'offsets.npy')
    np.testing.assert_array_equal(rows, np.concatenate(list(arrays.values())))
    assert offsets.tolist() == [0, 1, 4, 6, 9]
    features = PackedFeatures(store)
    assert features.index_of('c') == 2
    np.testing.assert_array_equal(features.rows, rows)
    np.testing.assert_array_equal(features.offsets, offsets)
    assert isinstance(features.rows, np.memmap)
    assert not features.rows.flags.writeable


def test_only_the_first_rows_are_read_if_asked(store, arrays):
    features = PackedFeatures(store)
    for count in (0, 1, 2, 3, 100):
        np.testing.assert_array_equal(features.read('b', count), arrays['b'][:count])


def test_what_was_read_may_be_changed(store, arrays):
    features = PackedFeatures(store)
    features.read('a')[:] = 0
    np.testing.assert_array_equal(features.read('a'), arrays['a'])


def test_h5_has_the_same_number_of_rows_and_keys(corpus_folder):
    path = corpus_folder / FILES['video']
    file, packed = FeatureFile(path), PackedFeatures(pack_file(path))
    with h5py.File(path) as expected:
        assert file.keys() == packed.keys() == list(expected)
        for key, array in expected.items():
            assert file.num_rows(key) == packed.num_rows(key) == len(array)


def test_a_folder_is_a_store_and_all_else_h5(corpus_folder, store):
    assert isinstance(open_features(str(store)), PackedFeatures)
    assert isinstance(open_features(corpus_folder / FILES['video']), FeatureFile)
    with pytest.raises(InputError, match='no such file; expected features there, an h5 file or'):
        open_features(store.parent / 'absent').read('a')
    with pytest.raises(InputError, match='no such file'):
        PackedFeatures(store / 'rows.npy').read('a')


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_the_pipeline_gives_what_it_gives_from_h5(corpus_folder, dtype):
    dataset = DATASETS.build(query_dataset(corpus_folder, pipeline=LOAD_BOTH))
    files = {name: pack_file(corpus_folder / file, dtype).name for name, file in FILES.items()}
    settings = query_dataset(corpus_folder, pipeline=LOAD_BOTH, feature_files=files)
    packed = DATASETS.build(settings)
    assert len(packed) == len(dataset) == 8
    for i in range(8):
        for found, expected in (
            (packed[i]['query_tokens'], dataset[i]['query_tokens']),
            (packed[i]['clips']['video'], dataset[i]['clips']['video']),
        ):
            np.testing.assert_array_equal(found, expected.astype(dtype).astype(np.float32))


def test_a_missing_key_and_another_width_are_said_as_of_h5(corpus_folder):
    path = corpus_folder / FILES['video']
    packed = pack_file(path)
    for key, channels in (('nowhere', 6), ('b', 7)):
        with pytest.raises(InputError) as of_h5:
            open_features(path, channels).read(key)
        with pytest.raises(InputError) as of_store:
            open_features(packed, channels).read(key)
        # the width is one of the whole store
        expected = str(of_h5.value).replace(str(path), str(packed)).replace(": key 'b'", '')
        assert str(of_store.value) == expected


# --- processes


def test_nothing_is_opened_before_the_first_use(tmp_path, arrays):
    features = PackedFeatures(tmp_path / 'later.pack')
    write_packed(tmp_path / 'later.pack', arrays.items())
    np.testing.assert_array_equal(features.read('a'), arrays['a'])


def test_a_copy_by_pickle_opens_the_store_for_itself(store, arrays):
    features = PackedFeatures(store, 6)
    features.read('a')
    content = pickle.dumps(features)
    assert len(content) < 1000
    np.testing.assert_array_equal(pickle.loads(content).read('a'), arrays['a'])


def test_a_closed_store_is_opened_again(store, arrays):
    features = PackedFeatures(store)
    features.read('a')
    file = features._store.file
    features.close()
    assert file.closed
    np.testing.assert_array_equal(features.read('a'), arrays['a'])


@pytest.mark.skipif(not Path('/proc/self/maps').exists(), reason='no /proc on this platform')
def test_reading_leaves_nothing_of_the_store_in_the_memory_of_the_process(store):
    features = PackedFeatures(store)
    rows = features.rows
    assert 'video.pack/rows.npy' in Path('/proc/self/maps').read_text()
    del rows
    features.read('a')
    assert 'video.pack/rows.npy' not in Path('/proc/self/maps').read_text()


@needs_fork
def test_a_fork_reads_after_its_parent_has_read_and_used_threads(tmp_path):
    values = np.random.default_rng(0).standard_normal((50, 3072)).astype(np.float16)
    write_packed(tmp_path / 'x.pack', [('x', values[:7]), ('y', values)], 'float16')
    features = PackedFeatures(tmp_path / 'x.pack')
    features.read('x')
    context = multiprocessing.get_context('fork')
    answers = context.Queue()
    child = context.Process(target=lambda: answers.put(features.read('y')))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.ones(1000, 1000).add_(1)  # starts the threads, which a fork has not
        child.start()
        rows = answers.get(timeout=20)
    finally:
        child.kill()
        child.join()
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(rows, values.astype(np.float32))


def test_two_loading_workers_read_what_one_process_reads(corpus_folder):
    pipeline = [*LOAD_BOTH, dict(type='reloclnet_mm.PackMomentInputs')]
    files = {name: pack_file(corpus_folder / file).name for name, file in FILES.items()}
    settings = query_dataset(corpus_folder, pipeline=pipeline, feature_files=files)
    dataset = DATASETS.build(settings)
    expected = [dataset[i]['inputs']['video'] for i in range(len(dataset))]
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=3, num_workers=2, collate_fn=pseudo_collate
    )
    found = [x for batch in loader for x in batch['inputs']['video']]
    assert len(found) == len(expected) == 8
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


def test_as_many_keys_as_tvr_has_queries_open_in_less_than_a_second(tmp_path):
    names = [str(i) for i in range(87175)]
    rows = np.arange(87175, dtype=np.float32)[:, None]
    write_packed(tmp_path / 'query.pack', zip(names, rows[:, None], strict=True))
    begin = time.perf_counter()
    features = PackedFeatures(tmp_path / 'query.pack', 1)
    assert features.read('87174').tolist() == [[87174]]
    assert time.perf_counter() - begin < 1


# --- damage


def test_a_folder_without_index_is_no_store(store):
    (store / 'index.json').unlink()
    assert_refused(store, 'not a packed feature store', 'no index.json')


@pytest.mark.parametrize('name', ['rows.npy', 'offsets.npy'])
@pytest.mark.parametrize('change', [-1, 1, -200])
def test_a_file_of_another_length_is_refused(store, name, change):
    path = store / name
    size = path.stat().st_size
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b'x')
    if size + change >= 128:
        words = (f'found {size + change} bytes', f'expected {size}')
    else:
        words = ('found the header', 'expected')
    assert_refused(store, name, *words)


@pytest.mark.parametrize('name', ['rows.npy', 'offsets.npy'])
def test_a_missing_file_is_refused(store, name):
    (store / name).unlink()
    assert_refused(store, name, 'cannot be opened')


class _WritesFileWhenUnpickled:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize('name', ['rows.npy', 'offsets.npy'])
def test_a_pickled_array_is_refused_and_not_unpickled(store, name):
    trap = store.parent / 'unpickled'
    objects = np.empty((9, 6) if name == 'rows.npy' else 5, object)
    objects[:] = _WritesFileWhenUnpickled(trap)
    np.save(store / name, objects, allow_pickle=True)
    assert_refused(store, name, "'descr': '|O'", 'expected')
    (store / name).write_bytes(pickle.dumps(_WritesFileWhenUnpickled(trap)))
    assert_refused(store, name, 'found the header')
    assert not trap.exists()


@pytest.mark.parametrize('array', [np.ones((6, 9), np.float32), np.ones((9, 6), np.float64)])
def test_rows_of_another_shape_or_dtype_are_refused(store, array):
    np.save(store / 'rows.npy', array)
    assert_refused(store, 'rows.npy', str(array.shape), array.dtype.str, '(9, 6)', "'<f4'")


def test_rows_saved_by_numpy_are_read(store, arrays):
    np.save(store / 'rows.npy', np.load(store / 'rows.npy'))
    np.testing.assert_array_equal(PackedFeatures(store).read('a'), arrays['a'])


@pytest.mark.parametrize(
    'offsets',
    [[0, 1, 1, 6, 9], [0, 4, 1, 6, 9], [1, 2, 4, 6, 9], [0, 1, 4, 6, 8], [-1, 1, 4, 6, 9]],
)
def test_offsets_that_do_not_grow_from_nothing_to_all_are_refused(store, offsets):
    write_offsets(store, offsets)
    assert_refused(store, 'offsets.npy', f'from {offsets[0]} to {offsets[-1]}', 'from 0 to 9')


def test_other_offsets_and_names_are_refused_by_their_checksums(store):
    edit_index(store, names=['d', 'a', 'b', 'c'])
    assert_refused(store, 'index.json', 'checksum', 'of the names')
    edit_index(store, names=['d', 'a', 'c', 'b'])
    write_offsets(store, [0, 2, 4, 6, 9])
    assert_refused(store, 'offsets.npy', 'checksum', 'of the offsets')


def test_another_version_is_refused(store):
    edit_index(store, version=2)
    assert_refused(store, 'found version 2', 'expected 1', 'the version of this package')


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(format='other'), '"format": "reloclnet_mm packed features"'),
        (dict(dtype='object'), "dtype: found 'object', expected float32 or float16"),
        (dict(dtype=[]), 'dtype: found [], expected float32 or float16'),
        (dict(channels=0), 'channels: found 0, expected a whole number above 0'),
        (dict(num_rows='9'), "num_rows: found '9', expected a whole number above 0"),
        (dict(num_keys=None), 'num_keys: found None, expected a whole number above 0'),
        (dict(num_keys=5), "names: found '4 of which 4 differ', expected 5"),
        (dict(names=['a', 'a', 'b', 'c']), "names: found '4 of which 3 differ', expected 4"),
        (dict(names=[1, 2, 3, 4]), "names: found 'list', expected a list of texts"),
        (dict(checksum={}), 'checksum: found {}, expected the crc32 of rows, offsets, names'),
        (dict(checksum=None), 'checksum: found None, expected the crc32 of rows, offsets, names'),
        (dict(num_rows=10**30), 'from 0 to 9, expected them to grow'),
        (dict(channels=10**30), 'found the header'),
    ],
)
def test_an_index_with_other_content_is_refused(store, changes, words):
    edit_index(store, **changes)
    assert_refused(store, words)


@pytest.mark.parametrize('text', ['', '{"format": ', '[]', '7', '\xff'])
def test_an_index_that_is_no_json_object_is_refused(store, text):
    (store / 'index.json').write_text(text, encoding='latin1')
    assert_refused(store, 'index.json')


def test_verification_finds_one_changed_bit(store):
    verify_packed(store)
    content = bytearray((store / 'rows.npy').read_bytes())
    content[-3] ^= 1
    (store / 'rows.npy').write_bytes(content)
    PackedFeatures(store).read('a')
    with pytest.raises(InputError, match=r'rows\.npy: found the checksum .* of the rows'):
        verify_packed(store)


# --- writing


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
    with pytest.raises(InputError, match=r'already there, .* use --overwrite'):
        write_packed(store, [('x', np.ones((2, 2)))])
    np.testing.assert_array_equal(PackedFeatures(store).read('a'), arrays['a'])
    reader = PackedFeatures(store)
    reader.read('a')
    write_packed(store, [('x', np.ones((2, 2)))], overwrite=True)
    assert PackedFeatures(store).keys() == ['x']
    # who has the old one open goes on with it
    np.testing.assert_array_equal(reader.read('a'), arrays['a'])


def test_a_folder_with_other_files_is_never_replaced(store):
    (store / 'thesis.txt').write_text('years')
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"found 'thesis\.txt' in the folder"):
            write_packed(store, [('x', np.ones((2, 2)))], overwrite=overwrite)
    assert (store / 'thesis.txt').read_text() == 'years'
    with pytest.raises(InputError, match='found a file'):
        write_packed(store / 'thesis.txt', [('x', np.ones((2, 2)))], overwrite=True)


def test_a_failure_leaves_the_store_that_was_there(store, arrays):
    features = [('x', np.ones((2, 2))), ('y', np.full((2, 2), np.nan))]
    with pytest.raises(InputError, match='NaN'):
        write_packed(store, features, overwrite=True)
    verify_packed(store)
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


@needs_fork
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

    with pytest.raises(InputError, match=r'x\.pack\.partial: left by an interrupted run'):
        write_packed(target, [('a', np.ones((2, 2)))])
    write_packed(target, [('a', np.ones((2, 2)))], overwrite=True)
    assert os.listdir(tmp_path) == ['x.pack']


@pytest.mark.parametrize('shape', [(1, 1), (871750, 3072), (10**9, 10**5), (87176,)])
@pytest.mark.parametrize('dtype', ['<f4', '<f2', '<i8'])
def test_the_header_is_the_one_that_numpy_reads(tmp_path, shape, dtype):
    (tmp_path / 'x.npy').write_bytes(array_header(np.dtype(dtype), shape))
    with (tmp_path / 'x.npy').open('rb') as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        found = np.lib.format.read_array_header_1_0(file)
        assert found == (shape, False, np.dtype(dtype))
        assert file.tell() == 128


def test_widths_of_the_corpus_are_checked_at_the_first_use(corpus_folder):
    store = pack_file(corpus_folder / FILES['subtitle'])
    PackedFeatures(store, CHANNELS['subtitle']).read('b')
    with pytest.raises(InputError, match='found rows 5 wide, expected 6; set channels'):
        _ = PackedFeatures(store, 6).offsets
