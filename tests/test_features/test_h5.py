"""One handle a process, opened at the first read."""

import multiprocessing
import pickle

import h5py
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from tiny_corpus import FILES, query_dataset

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.h5 import FeatureFile
from reloclnet_mm.registry import DATASETS


@pytest.fixture
def path(corpus_folder):
    return corpus_folder / FILES['video']


def test_the_file_is_opened_at_the_first_read_and_once(path, monkeypatch):
    opened = []
    monkeypatch.setattr(h5py, 'File', lambda *a: opened.append(a) or real(*a))
    file = FeatureFile(path)
    assert opened == []
    file.read('a')
    file.read('b')
    assert opened == [(path, 'r')]


real = h5py.File


@pytest.mark.parametrize('dtype', ['object', 'opaque', 'text'])
def test_values_that_are_no_numbers_are_refused_and_not_interpreted(path, dtype, tmp_path):
    payload = pickle.dumps(Payload(str(tmp_path / 'ran')))
    kinds = dict(
        object=(h5py.vlen_dtype(np.dtype('uint8')), np.frombuffer(payload, 'uint8')),
        opaque=(np.dtype(f'V{len(payload)}'), np.void(payload)),
        text=(h5py.string_dtype(), '1.0'),
    )
    kind, value = kinds[dtype]
    with real(path, 'r+') as file:
        del file['a']
        file.create_dataset('a', (1, 1), kind)[0, 0] = value
    with pytest.raises(
        InputError, match=r"key 'a': found values of the type .*, expected real numbers"
    ):
        FeatureFile(path).read('a')
    assert not (tmp_path / 'ran').exists()


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return open, (self.sentinel, 'w')


def test_reading_gives_the_rows_of_the_key(path):
    with real(path) as expected:
        np.testing.assert_array_equal(FeatureFile(path).read('b'), expected['b'][:])
        np.testing.assert_array_equal(FeatureFile(path).read('b', 3), expected['b'][:3])


def test_a_file_object_made_before_the_file_exists_can_read_it_later(tmp_path):
    file = FeatureFile(tmp_path / 'later.h5')
    with real(tmp_path / 'later.h5', 'w') as written:
        written['x'] = np.ones((2, 3))
    assert file.read('x').tolist() == [[1, 1, 1], [1, 1, 1]]


def test_a_handle_is_not_pickled(path):
    file = FeatureFile(path, 6)
    rows = file.read('a')
    copy = pickle.loads(pickle.dumps(file))
    assert copy._file is None
    np.testing.assert_array_equal(copy.read('a'), rows)


def test_a_closed_file_is_opened_again(path):
    file = FeatureFile(path)
    rows = file.read('a')
    handle = file._file
    file.close()
    assert not handle
    np.testing.assert_array_equal(file.read('a'), rows)


def _read_in_child(file, inherited, answers):
    rows = file.read('b')
    answers.put((rows, file._file is not inherited))


@pytest.mark.skipif(
    'fork' not in multiprocessing.get_all_start_methods(), reason='no fork on this platform'
)
def test_a_forked_process_opens_the_file_for_itself(path):
    file = FeatureFile(path)
    file.read('a')
    context = multiprocessing.get_context('fork')
    answers = context.Queue()
    child = context.Process(target=_read_in_child, args=(file, file._file, answers))
    child.start()
    rows, own_handle = answers.get(timeout=30)
    child.join()
    assert own_handle
    np.testing.assert_array_equal(rows, file.read('b'))


@pytest.mark.parametrize('read_before', [False, True])
def test_two_loading_workers_read_what_one_process_reads(corpus_folder, read_before):
    pipeline = [
        dict(type='reloclnet_mm.LoadQueryFeatures'),
        dict(type='reloclnet_mm.LoadClipFeatures', stream='video'),
        dict(type='reloclnet_mm.PackMomentInputs'),
    ]
    dataset = DATASETS.build(query_dataset(corpus_folder, pipeline=pipeline))
    expected = DATASETS.build(query_dataset(corpus_folder, pipeline=pipeline))
    if read_before:
        dataset[0]
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=3, num_workers=2, collate_fn=pseudo_collate
    )
    found = [x for batch in loader for x in batch['inputs']['video']]
    assert len(found) == len(expected) == 8
    for i, rows in enumerate(found):
        assert torch.equal(rows, expected[i]['inputs']['video'])
