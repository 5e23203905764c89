"""What h5 files and packed stores have in common: when they are opened, and what is refused."""

import multiprocessing
import pickle

import h5py
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from tiny_corpus import CHANNELS, FILES, edit_features, query_dataset

from reloclnet_mm.errors import InputError
from reloclnet_mm.features import FeatureFile, PackedFeatures, open_features
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


def pack_file(h5_path, dtype='float32'):
    """A store beside an h5 file with the same features."""
    target = h5_path.with_suffix('.pack')
    with h5py.File(h5_path) as file:
        write_packed(target, ((key, rows[:]) for key, rows in file.items()), dtype)
    return target


def write(path, rows):
    """An h5 file or a store, as the name says, with an array under the key ``x``."""
    if path.suffix == '.h5':
        with h5py.File(path, 'w') as file:
            file['x'] = rows
    else:
        write_packed(path, [('x', rows)])
    return path


@pytest.fixture(params=['h5', 'packed'])
def path(request, corpus_folder):
    """The features of all videos, as one kind of file or the other."""
    path = corpus_folder / FILES['video']
    return path if request.param == 'h5' else pack_file(path)


@pytest.fixture
def expected(corpus_folder):
    with h5py.File(corpus_folder / FILES['video']) as file:
        return {key: rows[:] for key, rows in file.items()}


def test_a_folder_is_a_store_and_everything_else_h5(path):
    assert type(open_features(str(path))) is (PackedFeatures if path.is_dir() else FeatureFile)
    with pytest.raises(InputError, match='no such file; expected features there, an h5 file or'):
        open_features(path.with_name('absent')).read('a')
    with pytest.raises(InputError, match='no such file; expected features there, an h5 file or'):
        PackedFeatures(path.with_name('absent')).read('a')


def test_reading_gives_the_rows_of_the_key(path, expected):
    features = open_features(path, CHANNELS['video'])
    assert features.keys() == list(expected)
    for key, rows in expected.items():
        assert features.num_rows(key) == len(rows)
        for count in (None, 0, 1, 3, 100):
            found = features.read(key, count)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, rows[:count])


def test_what_was_read_may_be_changed(path, expected):
    features = open_features(path)
    features.read('a')[:] = 0
    np.testing.assert_array_equal(features.read('a'), expected['a'])


@pytest.mark.parametrize('suffix', ['.h5', '.pack'])
def test_nothing_is_opened_before_the_first_use(tmp_path, suffix):
    path = tmp_path / f'later{suffix}'
    reader = (FeatureFile if suffix == '.h5' else PackedFeatures)(path)
    write(path, np.ones((2, 3), np.float32))
    assert reader.read('x').tolist() == [[1, 1, 1], [1, 1, 1]]


def test_the_file_is_opened_once(path, monkeypatch):
    features, opened = open_features(path), []
    monkeypatch.setattr(
        features, '_open_file', lambda: opened.append(1) or type(features)._open_file(features)
    )
    features.read('a')
    features.read('b')
    assert opened == [1]


def test_a_copy_by_pickle_opens_the_file_for_itself(path, expected):
    features = open_features(path, CHANNELS['video'])
    features.read('a')
    content = pickle.dumps(features)
    assert len(content) < 1000
    np.testing.assert_array_equal(pickle.loads(content).read('a'), expected['a'])


def test_a_closed_file_is_opened_again(path, expected):
    features = open_features(path)
    features.read('a')
    opened = features._opened
    features.close()
    assert opened.file.closed if path.is_dir() else not opened
    np.testing.assert_array_equal(features.read('a'), expected['a'])


@needs_fork
def test_a_forked_process_opens_the_file_for_itself(path, expected):
    features = open_features(path)
    features.read('a')
    inherited, context = features._opened, multiprocessing.get_context('fork')
    answers = context.Queue()
    child = context.Process(
        target=lambda: answers.put((features.read('b'), features._opened is not inherited))
    )
    child.start()
    rows, opened_again = answers.get(timeout=30)
    child.join()
    assert opened_again
    np.testing.assert_array_equal(rows, expected['b'])
    np.testing.assert_array_equal(features.read('b'), expected['b'])


@pytest.mark.parametrize('read_before', [False, True])
@pytest.mark.parametrize('kind', ['h5', 'packed'])
def test_two_loading_workers_read_what_one_process_reads(corpus_folder, kind, read_before):
    expected = DATASETS.build(query_dataset(corpus_folder, pipeline=LOAD_BOTH))
    files = FILES
    if kind == 'packed':
        files = {name: pack_file(corpus_folder / file).name for name, file in FILES.items()}
    settings = query_dataset(corpus_folder, pipeline=LOAD_BOTH, feature_files=files)
    dataset = DATASETS.build(settings)
    if read_before:
        dataset[0]
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=3, num_workers=2, collate_fn=pseudo_collate
    )
    found = [inputs for batch in loader for inputs in zip(*batch['inputs'].values(), strict=True)]
    assert len(found) == len(expected) == 8
    for i, inputs in enumerate(found):
        for here, there in zip(inputs, expected[i]['inputs'].values(), strict=True):
            assert torch.equal(here, there)


def test_a_missing_key_and_another_width_are_named(path):
    with pytest.raises(InputError, match=r"no features under the key 'nowhere' \(\d+ keys, such"):
        open_features(path).read('nowhere')
    with pytest.raises(InputError, match='found rows 6 wide, expected 7; set channels of the data'):
        open_features(path, 7).num_rows('b')


def spoil(path, key, value):
    """Put a number into the features of a key, as no writer of ours would."""
    if path.is_dir():
        rows = np.load(path / 'rows.npy', mmap_mode='r+')
        first = np.load(path / 'offsets.npy')[open_features(path).keys().index(key)]
        rows[first + 2, 1] = value
    else:
        rows = open_features(path).read(key)
        rows[2, 1] = value
        edit_features(path, key, rows)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e30, -1e30, 1.9e19])
def test_values_that_a_norm_cannot_be_computed_of_are_refused(path, value):
    spoil(path, 'b', value)
    found = f'{abs(value):g}'.replace('+', r'\+') if np.isfinite(value) else 'NaN or infinity'
    message = f"{path.name}: key 'b': found {found} in row 2, expected finite numbers"
    with pytest.raises(InputError, match=message):
        open_features(path).read('b')
    open_features(path).read('a')
    open_features(path).read('b', 2)


def test_large_values_whose_norm_can_be_computed_are_read(path):
    spoil(path, 'b', 1.8e19)  # its square is 3.24e38, the largest float32 3.4e38
    assert open_features(path).read('b')[2, 1] == np.float32(1.8e19)
