"""A packed store gives what the h5 file gives, and stops where it is damaged."""

import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_corpus import FILES, query_dataset

from reloclnet_mm.errors import InputError
from reloclnet_mm.features import FeatureFile, PackedFeatures
from reloclnet_mm.features.packed_writer import write_packed
from reloclnet_mm.registry import DATASETS

LOAD_BOTH = [
    dict(type='reloclnet_mm.LoadQueryFeatures'),
    dict(type='reloclnet_mm.LoadClipFeatures'),
    dict(type='reloclnet_mm.PackMomentInputs'),
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


def edit_index(store, **changes):
    path = store / 'index.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def assert_refused(store, *parts):
    with pytest.raises(InputError) as caught:
        PackedFeatures(store).read('a')
    for part in (str(store), *parts, 'pack the features again'):
        assert part in str(caught.value)


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


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_the_pipeline_gives_what_it_gives_from_h5(corpus_folder, dtype):
    dataset = DATASETS.build(query_dataset(corpus_folder, pipeline=LOAD_BOTH))
    files = {name: f'{name}.pack' for name in FILES}
    for name, file in FILES.items():
        source = FeatureFile(corpus_folder / file)
        arrays = ((key, source.read(key)) for key in source.keys())  # noqa: SIM118
        write_packed(corpus_folder / files[name], arrays, dtype)
    settings = query_dataset(corpus_folder, pipeline=LOAD_BOTH, feature_files=files)
    packed = DATASETS.build(settings)
    assert len(packed) == len(dataset) == 8
    for i in range(8):
        for name, expected in dataset[i]['inputs'].items():
            found = packed[i]['inputs'][name].numpy()
            np.testing.assert_array_equal(found, expected.numpy().astype(dtype))


@pytest.mark.skipif(not Path('/proc/self/maps').exists(), reason='no /proc on this platform')
def test_reading_leaves_nothing_of_the_store_in_the_memory_of_the_process(store):
    features = PackedFeatures(store)
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


def test_as_many_keys_as_tvr_has_queries_open_in_less_than_a_second(tmp_path):
    names = [str(i) for i in range(87175)]
    rows = np.arange(87175, dtype=np.float32)[:, None]
    write_packed(tmp_path / 'query.pack', zip(names, rows[:, None], strict=True))
    begin = time.perf_counter()
    features = PackedFeatures(tmp_path / 'query.pack', 1)
    assert features.read('87174').tolist() == [[87174]]
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize('name', ['rows.npy', 'offsets.npy'])
@pytest.mark.parametrize('change', [-1, 1, -200])
def test_a_file_of_another_length_is_refused(store, name, change):
    path = store / name
    size = path.stat().st_size
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b'x')
    if size + change >= 128:
        assert_refused(store, name, f'found {size - 128 + change} bytes', f'expected {size - 128}')
    else:
        assert_refused(store, name, 'found no array saved by numpy.save')


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
    np.save(store / 'offsets.npy', np.array(offsets))
    assert_refused(store, 'offsets.npy', f'from {offsets[0]} to {offsets[-1]}', 'from 0 to 9')


def test_other_offsets_and_names_are_refused_by_their_checksums(store):
    edit_index(store, names=['d', 'a', 'b', 'c'])
    assert_refused(store, 'index.json', 'checksum', 'of the names')
    edit_index(store, names=['d', 'a', 'c', 'b'])
    np.save(store / 'offsets.npy', np.array([0, 2, 4, 6, 9]))
    assert_refused(store, 'offsets.npy', 'checksum', 'of the offsets')


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(format='other'), "format: found 'other', expected 'reloclnet_mm packed features'"),
        (dict(version=2), 'version: found 2, expected 1, or the package version that wrote it'),
        (dict(dtype='object'), "dtype: found 'object', expected float32 or float16"),
        (dict(dtype=[]), 'dtype: found [], expected float32 or float16'),
        (dict(channels=0), 'channels: found 0, expected a whole number above 0'),
        (dict(channels=True), 'channels: found True, expected a whole number above 0'),
        (dict(num_rows='9'), "num_rows: found '9', expected a whole number above 0"),
        (dict(names=['a', 'b']), 'checksum'),
        (dict(names=['a', 'a', 'b', 'c']), "names: found ['a', 'a', 'b', 'c'], expected a list of"),
        (dict(names=[[1], [2]]), 'names: found [[1], [2]], expected a list of different texts'),
        (dict(names={}), 'names: found {}, expected a list of different texts'),
        (dict(checksum={}), 'checksum: found {}, expected the crc32 of rows, offsets and names'),
        (dict(checksum=None), 'checksum: found None, expected the crc32 of rows, offsets and'),
        (dict(attributes=[1]), 'attributes: found [1], expected an object'),
        (dict(num_rows=10**30), 'from 0 to 9, expected them to grow'),
        (dict(channels=10**30), 'rows.npy: found 216 bytes of shape (9, 6)'),
    ],
)
def test_an_index_with_other_content_is_refused(store, changes, words):
    edit_index(store, **changes)
    assert_refused(store, words)


@pytest.mark.parametrize('text', [b'', b'{"format": ', b'[]', b'7', b'[' * 100_000, b'"\xff"'])
def test_an_index_that_is_no_json_object_is_refused(store, text):
    (store / 'index.json').write_bytes(text)
    with pytest.raises(InputError, match=r'index\.json: (not a JSON file|not UTF-8|found a )'):
        PackedFeatures(store).read('a')


def test_a_store_without_attributes_as_earlier_versions_wrote_it_is_read(store, arrays):
    index = json.loads((store / 'index.json').read_text())
    del index['attributes']
    (store / 'index.json').write_text(json.dumps(index))
    assert PackedFeatures(store).attributes == {}
    np.testing.assert_array_equal(PackedFeatures(store).read('a'), arrays['a'])


def test_verification_finds_one_changed_bit(store):
    PackedFeatures(store).verify()
    content = bytearray((store / 'rows.npy').read_bytes())
    content[-3] ^= 1
    (store / 'rows.npy').write_bytes(content)
    PackedFeatures(store).read('a')
    with pytest.raises(InputError, match=r'rows\.npy: found the checksum .* of the rows'):
        PackedFeatures(store).verify()
