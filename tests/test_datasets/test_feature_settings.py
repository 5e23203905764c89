"""What a data set says of its features: how long a clip is, what is normalized, what is refused."""

import h5py
import numpy as np
import pytest
from tiny_corpus import CHANNELS, FILES, corpus_dataset, edit_features, query_dataset

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import DATASETS

POOL = [dict(type='reloclnet_mm.LoadClipFeatures'), dict(type='reloclnet_mm.PoolClips')]
COUNT = [dict(type='reloclnet_mm.CountClips')]


def record(folder, streams=('video', 'subtitle'), **clip_lengths):
    """Note in the feature files how long a clip is."""
    for name in streams:
        with h5py.File(folder / FILES[name], 'r+') as file:
            file.attrs['clip_length'] = clip_lengths.get(name, 1.5)


def seconds(folder, pipeline=POOL, **settings):
    """Seconds of a row of each validation video: of 6, 8, 1 and 13 clips, pooled to 8 at most."""
    dataset = DATASETS.build(corpus_dataset(folder, pipeline=pipeline, **settings))
    return [dataset[i]['seconds_per_clip'] for i in range(4)]


@pytest.mark.parametrize('pipeline', [POOL, COUNT], ids=['pooled', 'counted'])
@pytest.mark.parametrize('streams', [['video'], ['subtitle'], ['video', 'subtitle']])
def test_without_a_clip_length_that_of_the_files_is_taken(corpus_folder, pipeline, streams):
    record(corpus_folder, streams)
    found = seconds(corpus_folder, pipeline, clip_length=None)
    assert found == [1.5, 1.5, 1.5, 1.5 * 13 / 8]


def test_a_clip_length_that_neither_config_nor_files_tell_is_an_error(corpus_folder):
    with pytest.raises(InputError, match=r'no attribute clip_length in \{.*set clip_length of'):
        seconds(corpus_folder, clip_length=None)


@pytest.mark.parametrize('clip_length', [2.0, 1.4999, 'even'])
def test_a_clip_length_other_than_that_of_the_files_is_an_error(corpus_folder, clip_length):
    record(corpus_folder, ['video'])
    with pytest.raises(InputError, match=r'video\.h5: was made with clip_length 1\.5 s, and'):
        seconds(corpus_folder, clip_length=clip_length)


def test_files_that_disagree_about_the_clip_length_are_an_error(corpus_folder):
    record(corpus_folder, subtitle=2.0)
    with pytest.raises(InputError, match=r'sub\.h5: was made with clip_length 2\.0 s, and'):
        seconds(corpus_folder, clip_length=None)


@pytest.mark.parametrize('clip_length', [None, 1.5, 'even'])
@pytest.mark.parametrize('recorded', [0.0, -1.5, float('nan'), float('inf'), '1.5', True])
def test_a_recorded_clip_length_that_is_no_length_is_refused(corpus_folder, recorded, clip_length):
    record(corpus_folder, ['video'], video=recorded)
    message = (
        rf'video\.h5: attribute clip_length is {recorded!r}, expected .*; set it to the seconds'
    )
    with pytest.raises(InputError, match=message):
        seconds(corpus_folder, clip_length=clip_length)


@pytest.mark.parametrize('pipeline', [POOL, COUNT], ids=['pooled', 'counted'])
def test_rows_without_a_fixed_length_are_spread_evenly_over_the_duration(corpus_folder, pipeline):
    for name in ('video', 'subtitle'):  # 9 s in 3 rows, whose length no other video has
        edit_features(corpus_folder / FILES[name], 'e', np.ones((3, CHANNELS[name]), np.float32))
    found = seconds(corpus_folder, pipeline, clip_length='even')
    assert found == [3.0, 1.5, 1.5, 13 * 1.5 / 8]


@pytest.mark.parametrize('clip_length', [0, -1.5, float('nan'), 'odd', True])
def test_a_clip_length_that_is_no_length_is_refused(corpus_folder, clip_length):
    with pytest.raises(ValueError, match=r'CorpusDataset: clip_length .* is .*, expected a finite'):
        seconds(corpus_folder, clip_length=clip_length)


@pytest.mark.parametrize('name', ['max_clips', 'max_tokens'])
@pytest.mark.parametrize('value', [0, -1, 1.5, True, '8'])
def test_numbers_that_are_no_counts_are_refused(corpus_folder, name, value):
    with pytest.raises(ValueError, match=f'QueryDataset: {name} is {value!r}, expected a whole'):
        DATASETS.build(query_dataset(corpus_folder, **{name: value}))


@pytest.mark.parametrize('names', [None, ['query'], ['video'], []])
def test_what_the_data_set_names_is_normalized_and_nothing_else(corpus_folder, names):
    pipeline = [
        dict(type=f'reloclnet_mm.{name}')
        for name in ('LoadQueryFeatures', 'LoadClipFeatures', 'NormalizeFeatures')
    ]
    dataset = DATASETS.build(query_dataset(corpus_folder, pipeline=pipeline, normalize=names))
    sample = dataset[0]
    found = dict(sample['clips'], query=sample['query_tokens'])
    for name, rows in found.items():
        with h5py.File(corpus_folder / FILES[name]) as file:
            expected = file['0' if name == 'query' else 'a'][:]
        if names is None or name in names:
            expected = expected / (np.sqrt((expected**2).sum(1, keepdims=True)) + 1e-5)
        np.testing.assert_allclose(rows, expected, rtol=1e-6)
