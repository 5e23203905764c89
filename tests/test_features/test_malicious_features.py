"""Feature files from anywhere: no code runs, and nothing outside of the file is read.

Pickled arrays in packed stores are in test_packed_features.py.
"""

import os

import h5py
import numpy as np
import pytest

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.h5 import FeatureFile

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


OUTSIDE = {
    external_link: 'a link out of the file',
    external_link_in_a_group: 'a link out of the file',
    external_link_at_the_end_of_soft_links: 'a link out of the file',
    external_link_to_what_would_block: 'a link out of the file',
    virtual_array: 'values lie in other files',
    raw_data_elsewhere: 'values lie in other files',
}


@pytest.mark.parametrize('write', OUTSIDE, ids=lambda f: f.__name__)
@pytest.mark.parametrize('method', ['read', 'num_rows'])
def test_what_lies_outside_of_the_file_is_refused(write, method, secret, tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        write(file, secret)
    with pytest.raises(InputError, match=rf"features\.h5: key 'a': .*{OUTSIDE[write]}.*; have the"):
        getattr(FeatureFile(path), method)('a')


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


def test_links_in_a_circle_are_refused(tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        file['a'] = h5py.SoftLink('/b')
        file['b'] = h5py.SoftLink('/a')
    with pytest.raises(InputError, match=r"key 'a': found a link .* in a circle"):
        FeatureFile(path).read('a')


@pytest.mark.parametrize('target', ['nowhere', 'array/beyond'])
def test_a_link_to_nothing_is_a_missing_key(target, tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        file['array'] = ROWS
        file['a'] = h5py.SoftLink(target)
    with pytest.raises(InputError, match=r"no features under the key 'a' \(2 keys"):
        FeatureFile(path).read('a')


@pytest.mark.parametrize('key', ['alias', 'group/alias', 'group/array', '/group//array'])
def test_links_within_the_file_are_followed(key, tmp_path):
    path = tmp_path / 'features.h5'
    with h5py.File(path, 'w') as file:
        file['group/array'] = ROWS
        file['alias'] = h5py.SoftLink('/group/alias')
        file['group/alias'] = h5py.SoftLink('array')
    np.testing.assert_array_equal(FeatureFile(path).read(key), ROWS)


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
