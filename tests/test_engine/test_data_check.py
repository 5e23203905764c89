"""Data and model of different sizes are found before the first step."""

import re

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_corpus import CONFIG, FILES, files_of, tiny_config, tiny_model

from reloclnet_mm.datasets.transforms import AppendTEF, LoadClipFeatures
from reloclnet_mm.engine.hooks.data_check import data_difference
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import DATASETS, MODELS

LOADERS = ('train', 'val', 'val_corpus', 'test', 'test_corpus')


def run(folder, work_dir, loader, setting):
    """Begin to train or to test with a data set changed."""
    cfg = tiny_config(folder, work_dir)
    cfg[f'{loader}_dataloader'].dataset.merge(setting)
    runner = Runner.from_cfg(cfg)
    runner.model.train_step = lambda *args, **others: pytest.fail('training began')
    (runner.test if loader.startswith('test') else runner.train)()


def difference(folder, loader, setting=(), **model):
    """What is said of a data set and a model."""
    dataset = tiny_config(folder, 'unused')[f'{loader}_dataloader'].dataset
    dataset.merge(dict(setting))
    built = DATASETS.build(dict(dataset, _scope_='reloclnet_mm'))
    return data_difference(MODELS.build(tiny_model(**model)), built)


MISSPELT = dict(feature_files=dict(subtitel='sub.h5'))


@pytest.mark.parametrize('loader', LOADERS)
def test_no_step_is_made_with_a_data_set_that_contradicts_the_model(
    corpus_folder, tmp_path, loader
):
    message = (
        r"Dataset of .*: has feature_files of the streams \['subtitel', 'subtitle', 'video'\], and "
        r"model\.streams is \['subtitle', 'video'\]; name the same streams in both"
    )
    with pytest.raises(InputError, match=message):
        run(corpus_folder, tmp_path, loader, MISSPELT)


def repeated(dataset):
    return dict(type='mmengine.RepeatDataset', times=2, dataset=dataset)


@pytest.mark.parametrize(
    'wrap',
    [
        repeated,
        lambda x: dict(type='mmengine.ConcatDataset', datasets=[x, x]),
        lambda x: dict(type='mmengine.ConcatDataset', datasets=[repeated(x)]),
    ],
    ids=['repeated', 'joined', 'nested'],
)
def test_a_data_set_within_a_wrapper_is_compared_too(corpus_folder, tmp_path, wrap):
    cfg = tiny_config(corpus_folder, tmp_path)
    loader = cfg.train_dataloader
    loader.dataset.merge(dict(max_clips=9))
    loader.dataset = wrap(loader.dataset.to_dict())
    with pytest.raises(InputError, match=r'QueryDataset of .*: has max_clips=9'):
        Runner.from_cfg(cfg).train()


class OwnLoading(LoadClipFeatures):
    """Loading of a user, who derives from ours."""


class OwnPositions(AppendTEF):
    """Positions of a user, who derives from ours."""


def test_steps_derived_from_ours_count_as_ours(corpus_folder):
    dataset = tiny_config(corpus_folder, 'unused').train_dataloader.dataset
    dataset.merge(dict(channels=dict(video=9)))
    built = DATASETS.build(dict(dataset, _scope_='reloclnet_mm'))
    own = {LoadClipFeatures: OwnLoading, AppendTEF: OwnPositions}
    for step in built.pipeline.transforms:
        step.__class__ = own.get(type(step), type(step))
    found = data_difference(MODELS.build(tiny_model()), built)
    assert 'its video features are 11 wide' in found


@pytest.mark.parametrize('loader', ['train', 'val', 'val_corpus'])
@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        (dict(max_clips=9), 'has max_clips=9, and the encoder of the model has 8 positions; give'),
        (dict(max_tokens=5), 'has max_tokens=5, and the encoder of the model has 4 positions'),
        (
            dict(channels=dict(query=7)),
            'its query features are 7 wide and the model was built for 4: set channels of the data',
        ),
    ],
)
def test_sizes_that_differ_are_named(corpus_folder, loader, setting, message):
    assert re.search(message, difference(corpus_folder, loader, setting))


@pytest.mark.parametrize('loader', ['train', 'val_corpus'])
def test_a_stream_of_another_width_is_named_with_its_position_columns(corpus_folder, loader):
    message = (
        'video features are 11 wide and the model was built for 8: set .*, two more where AppendTEF'
    )
    assert re.search(message, difference(corpus_folder, loader, dict(channels=dict(video=9))))


def test_a_model_with_more_positions_than_the_data_needs_is_no_error(corpus_folder):
    model = dict(
        query_encoder=dict(type='reloclnet_mm.QueryEncoder', max_tokens=99),
        context_encoder=dict(type='reloclnet_mm.ContextEncoder', max_clips=99),
    )
    for loader in LOADERS:
        assert difference(corpus_folder, loader, **model) == ''


@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        (dict(max_clips=7), 'has max_clips 8, and the data preprocessor of the model 7; give both'),
        (dict(max_tokens=3), 'has max_tokens 4, and the data preprocessor of the model 3'),
        (dict(normalize=['query']), r"has normalize \('.*'\), and the data preprocessor"),
        (dict(feature_files=dict(FILES, video='v.h5')), r'feature_files .*video\.h5.*v\.h5'),
        (dict(append_tef=False), 'video features are 6 wide and the model was built for 8'),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else '',
)
def test_resident_features_are_those_of_the_data_set(corpus_folder, setting, message):
    ours = Config.fromfile(CONFIG.with_name('relocl_tvr_resident.py'))
    shared = files_of(corpus_folder)
    del shared['clip_length']
    resident = dict(ours.model.data_preprocessor, **shared)
    resident['type'] = 'reloclnet_mm.ResidentDataPreprocessor'
    pipeline = dict(pipeline=ours.train_dataloader.dataset.pipeline)

    def found(**changes):
        return difference(
            corpus_folder, 'train', pipeline, data_preprocessor=dict(resident, **changes)
        )

    assert found() == ''
    assert re.search(message, found(**setting))
