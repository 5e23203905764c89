"""Feature files from anywhere: no code runs, and nothing outside of the file is read."""

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from reloclnet_mm.errors import InputError
from reloclnet_mm.features import FeatureFile, PackedFeatures, open_features
from reloclnet_mm.features.packed_writer import write_packed

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def secret(tmp_path):
    """A file of the reader's, with an array that is no business of the features'."""
    path = tmp_path / 'secret.h5'
    with h5py.File(path, 'w') as file:
        file['a'] = ROWS
    return path


def external_link(file, secret):
    file['a'] = h5py.ExternalLink(secret, '/a')


def external_link_in_a_group(file, secret):
    file['group/inner'] = h5py.ExternalLink(secret, '/')
    file['a'] = h5py.SoftLink('/group/inner/a')


def external_link_at_the_end_of_soft_links(file, secret):
    file['out'] = h5py.ExternalLink(secret, '/a')
    file['b'] = h5py.SoftLink('out')
    file['a'] = h5py.SoftLink('/b')


def external_link_to_what_would_block(file, secret):
    os.mkfifo(secret.with_name('fifo'))
    file['a'] = h5py.ExternalLink(secret.with_name('fifo'), '/a')


def virtual_array(file, secret):
    layout = h5py.VirtualLayout(ROWS.shape, np.float32)
    layout[:] = h5py.VirtualSource(secret, 'a', ROWS.shape)
    file.create_virtual_dataset('a', layout)


def raw_data_elsewhere(file, secret):
    outside = [(os.fsencode(secret), 0, ROWS.nbytes)]
    file.create_dataset('a', ROWS.shape, np.float32, external=outside)


def soft_link_within_the_file(file, secret):
    file['array'] = ROWS
    file['a'] = h5py.SoftLink('/array')


def soft_link_to_nothing(file, secret):
    file['a'] = h5py.SoftLink('/nowhere')


def links_in_a_circle(file, secret):
    file['a'] = h5py.SoftLink('/b')
    file['b'] = h5py.SoftLink('/a')


OUTSIDE = {
    external_link: 'a link',
    external_link_in_a_group: 'a link',
    external_link_at_the_end_of_soft_links: 'a link',
    external_link_to_what_would_block: 'a link',
    soft_link_within_the_file: 'a link',
    soft_link_to_nothing: 'a link',
    links_in_a_circle: 'a link',
    virtual_array: 'values lie in other files',
    raw_data_elsewhere: 'values lie in other files',
}


@pytest.mark.parametrize('write', OUTSIDE, ids=lambda f: f.__name__)
@pytest.mark.parametrize('method', ['read', 'num_rows'])
def test_what_is_or_may_lie_outside_of_the_file_is_refused(write, method, secret, tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        write(file, secret)
    with pytest.raises(InputError, match=rf"features\.h5: key 'a': .*{OUTSIDE[write]}.*; have the"):
        getattr(FeatureFile(path), method)('a')


class WritesFileWhenUnpickled:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize('kind', ['object', 'opaque'])
def test_a_pickle_in_an_array_is_refused_and_not_unpickled(kind, tmp_path):
    payload = pickle.dumps(WritesFileWhenUnpickled(tmp_path / 'unpickled'))
    dtype, value = np.dtype(f'V{len(payload)}'), np.void(payload)
    if kind == 'object':
        dtype, value = h5py.vlen_dtype(np.dtype('uint8')), np.frombuffer(payload, 'uint8')
    with h5py.File(tmp_path / 'features.h5', 'w') as file:
        file.create_dataset('a', (1, 1), dtype)[0, 0] = value
    with pytest.raises(InputError, match=r"key 'a': found values of the type .*, expected real"):
        FeatureFile(tmp_path / 'features.h5').read('a')
    assert not (tmp_path / 'unpickled').exists()


@pytest.mark.parametrize(
    ('values', 'kind'),
    [
        (np.array([['a', 'b']], object), 'object'),
        (np.array([[b'abc']]), r'\|S3'),
        (np.array([[True]]), 'bool'),
        (np.array([[(1, 2.0)]], [('i', 'i4'), ('f', 'f8')]), r"\[\('i', '<i4'\)"),
        (np.array([[1 + 2j]]), 'complex128'),
    ],
    ids=['text', 'bytes', 'truth', 'records', 'complex'],
)
def test_values_that_are_not_real_numbers_are_refused(values, kind, tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        text = h5py.string_dtype() if values.dtype == object else None
        file.create_dataset('a', data=values, dtype=text)
    with pytest.raises(InputError, match=f"key 'a': found values of the type {kind}"):
        FeatureFile(path).read('a')


def test_references_are_not_followed(tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        file['b'] = ROWS
        file.create_dataset('a', (1, 1), h5py.ref_dtype)[0] = file['b'].ref
    with pytest.raises(InputError, match=r"key 'a': found values of the type object"):
        FeatureFile(path).read('a')


@pytest.mark.parametrize('key', ['group/link/a', 'group/out/a'])
def test_links_on_the_way_to_an_array_are_refused(key, secret, tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        file['group/inner/a'] = ROWS
        file['group/link'] = h5py.SoftLink('inner')
        file['group/out'] = h5py.ExternalLink(secret, '/')
    with pytest.raises(InputError, match=f"key '{key}': found a link, expected the array itself"):
        FeatureFile(path).read(key)


@pytest.mark.parametrize('key', ['group/array', '/group//array', 'second'])
def test_arrays_in_groups_and_of_two_names_are_read(key, tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        file['group/array'] = ROWS
        file['second'] = file['group/array']
    np.testing.assert_array_equal(FeatureFile(path).read(key), ROWS)


@pytest.mark.parametrize('key', ['group/absent', 'array/beyond', '.', '..', '../array', 'a\0b'])
def test_a_path_to_nothing_is_a_missing_key_or_cannot_be_read(key, tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        file['array'] = ROWS
        file.create_group('group')
    with pytest.raises(InputError) as caught:
        FeatureFile(path).read(key)
    assert f'{key!r}' in str(caught.value)


@pytest.mark.parametrize('key', ['group', '', '/', 'type', 'scalar', 'null'])
def test_what_is_no_array_of_rows_is_refused(key, tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        file.create_group('group')
        file['type'] = np.dtype('f4')
        file['scalar'] = 1.0
        file['null'] = h5py.Empty('f4')
    with pytest.raises(InputError, match=rf"features\.h5: key '{key}': found an? .*, expected"):
        FeatureFile(path).read(key)


@pytest.mark.parametrize('dtype', ['<f2', '>f4', '<f8', 'u1', '<i8'])
def test_real_numbers_of_any_size_are_read_as_float32(dtype, tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        file['a'] = ROWS.astype(dtype)
    rows = FeatureFile(path).read('a')
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, ROWS)


def test_damaged_values_are_an_input_error(tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        array = file.create_dataset('a', data=ROWS, chunks=ROWS.shape, compression='gzip')
        chunk = array.id.get_chunk_info(0)
    with path.open('r+b') as file:
        file.seek(chunk.byte_offset)
        file.write(bytes(chunk.size))
    with pytest.raises(InputError, match=r"key 'a': cannot be read .*; the file is damaged"):
        FeatureFile(path).read('a')


def test_a_huge_array_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        file.create_dataset('a', (10**13, 6), np.float32, chunks=(1, 6))
    assert FeatureFile(path).read('a', 2).tolist() == [[0] * 6] * 2
    with pytest.raises(InputError, match=r"key 'a': cannot be read \(Unable to allocate"):
        FeatureFile(path).read('a')


def test_attributes_other_than_texts_and_numbers_are_ignored(tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        file['a'] = ROWS
        file.attrs.update(clip_length=1.5, kind='clips', sizes=[1, 2], empty=h5py.Empty('f4'))
        file.attrs.create('reference', file['a'].ref, dtype=h5py.ref_dtype)
        file.attrs['opaque'] = np.void(b'abc')
    assert FeatureFile(path).attributes == dict(clip_length=1.5, kind='clips')


@pytest.fixture
def store(tmp_path):
    arrays = np.split(np.arange(54, dtype=np.float32).reshape(9, 6), [1, 4, 6])
    write_packed(tmp_path / 'video.pack', zip('dacb', arrays, strict=True))
    return tmp_path / 'video.pack'


def assert_refused(store, *parts):
    with pytest.raises(InputError) as caught:
        PackedFeatures(store).read('a')
    for part in (str(store), *parts, 'pack the features again'):
        assert part in str(caught.value)


@pytest.mark.parametrize('name', ['rows.npy', 'offsets.npy', 'index.json'])
@pytest.mark.parametrize('make', [None, os.mkfifo, os.mkdir], ids=['nothing', 'pipe', 'folder'])
def test_what_is_no_regular_file_is_refused_at_once(store, name, make):
    (store / name).unlink()
    if make is not None:
        make(store / name)
    assert_refused(store, f'{name}: no such regular file')


@pytest.mark.parametrize('make', [os.mkfifo, lambda path: path.symlink_to('/dev/zero')])
def test_a_pipe_or_device_in_the_place_of_features_is_refused_at_once(tmp_path, make):
    make(tmp_path / 'features')
    with pytest.raises(InputError, match='features: no such file; expected features there'):
        open_features(tmp_path / 'features').read('a')


@pytest.mark.parametrize('name', ['rows.npy', 'offsets.npy'])
def test_a_pickled_array_is_refused_and_not_unpickled(store, name):
    trap = store.parent / 'unpickled'
    objects = np.empty((9, 6) if name == 'rows.npy' else 5, object)
    objects[:] = WritesFileWhenUnpickled(trap)
    np.save(store / name, objects, allow_pickle=True)
    assert_refused(store, name, "type '|O'", 'expected')
    (store / name).write_bytes(pickle.dumps(WritesFileWhenUnpickled(trap)))
    assert_refused(store, name, 'found no array saved by numpy.save')
    assert not trap.exists()


@pytest.mark.parametrize(
    'text',
    [
        '(' * 9000,
        '[' * 90 + ']' * 90,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9, 6)",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9, 6), 'x': __import__('os')}",
        "{'descr': [('a', '<f4', (10**9,))], 'fortran_order': False, 'shape': (9, 6), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + '9' * 8000 + ', 6), }',
        "{'descr': '<f4', 'fortran_order': True, 'shape': (9, 6), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-9, -6), }",
        'x' * 60000,
        '\0' * 118,
    ],
)
@pytest.mark.parametrize('name', ['rows.npy', 'offsets.npy'])
def test_hostile_headers_are_refused(store, name, text):
    header = text.encode() + b'\n'
    content = b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header
    (store / name).write_bytes(content + bytes(9 * 6 * 4))
    assert_refused(store, name, 'found')
