"""Data and model of different sizes are found before the first step."""

import re

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_corpus import CONFIG, FILES, tiny_config, tiny_model

from reloclnet_mm.engine.hooks.data_check import data_difference
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import DATASETS, MODELS

LOADERS = [f'{name}_dataloader' for name in ('train', 'val', 'val_corpus', 'test', 'test_corpus')]


def run(folder, work_dir, loaders, dataset=(), model=()):
    """Begin to train, and if that is let pass, to test."""
    cfg = tiny_config(folder, work_dir)
    for name in loaders:
        cfg[name].dataset.merge(dict(dataset))
    cfg.model.merge(dict(model))
    runner = Runner.from_cfg(cfg)
    runner.model.train_step = lambda *args, **others: pytest.fail('training began')
    method = runner.train if {*loaders} & {*LOADERS[:3]} else runner.test
    method()


@pytest.mark.parametrize('loader', LOADERS)
@pytest.mark.parametrize(
    ('dataset', 'message'),
    [
        (
            dict(feature_files=dict(subtitel='sub.h5')),
            r"has feature_files of the streams \['subtitel', 'subtitle', 'video'\], and "
            r"model\.streams is \['subtitle', 'video'\]; name the same",
        ),
        (dict(max_clips=9), 'has max_clips=9, and the encoder of the model has 8 positions; give'),
        (dict(max_tokens=5), 'has max_tokens=5, and the encoder of the model has 4 positions'),
        (
            dict(channels=dict(query=7)),
            r'its query features are 7 wide.* model\.query_channels is 4; set channels',
        ),
    ],
    ids=['streams', 'max_clips', 'max_tokens', 'query'],
)
def test_a_data_set_that_contradicts_the_model_is_named(
    corpus_folder, tmp_path, loader, dataset, message
):
    with pytest.raises(InputError, match=rf'Dataset of .*{message}'):
        run(corpus_folder, tmp_path, [loader], dataset)


@pytest.mark.parametrize('loader', ['train_dataloader', 'val_corpus_dataloader'])
def test_a_stream_of_another_width_is_named_with_its_position_columns(
    corpus_folder, tmp_path, loader
):
    message = r'video features are 11 wide, position.* model\.streams\.video is 8; set channels'
    with pytest.raises(InputError, match=message):
        run(corpus_folder, tmp_path, [loader], dict(channels=dict(video=9)))


def test_a_model_with_more_positions_than_the_data_needs_is_no_error(corpus_folder):
    cfg = tiny_config(corpus_folder, 'unused')
    model = MODELS.build(
        tiny_model(
            query_encoder=dict(type='reloclnet_mm.QueryEncoder', max_tokens=99),
            context_encoder=dict(type='reloclnet_mm.ContextEncoder', max_clips=99),
        )
    )
    for name in LOADERS:
        dataset = dict(cfg[name].dataset, _scope_='reloclnet_mm')
        assert data_difference(model, DATASETS.build(dataset)) == ''


@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        (dict(max_clips=7), 'has max_clips 8, and the data preprocessor of the model 7; give both'),
        (dict(max_tokens=3), 'has max_tokens 4, and the data preprocessor of the model 3'),
        (dict(normalize=['query']), r"has normalize \('.*'\), and the data preprocessor"),
        (dict(feature_files=dict(FILES, video='v.h5')), r'feature_files .*video\.h5.*v\.h5'),
        (dict(append_tef=False), r'model\.streams\.video is 8'),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else '',
)
def test_resident_features_are_those_of_the_data_set(corpus_folder, setting, message):
    cfg = tiny_config(corpus_folder, 'unused')
    ours = Config.fromfile(CONFIG.with_name('relocl_tvr_resident.py'))
    dataset = dict(cfg.train_dataloader.dataset, _scope_='reloclnet_mm')
    dataset['pipeline'] = ours.train_dataloader.dataset.pipeline
    shared = ('data_root', 'feature_files', 'channels', 'normalize', 'max_clips', 'max_tokens')
    resident = dict(ours.model.data_preprocessor, **{name: dataset[name] for name in shared})
    resident['type'] = 'reloclnet_mm.ResidentDataPreprocessor'

    def difference(**changes):
        model = MODELS.build(tiny_model(data_preprocessor=resident | changes))
        return data_difference(model, DATASETS.build(dataset))

    assert difference() == ''
    assert re.search(message, difference(**setting))
