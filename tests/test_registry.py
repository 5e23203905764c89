"""Types of ours from other scopes, types of others from ours, and every config."""

import json
import os
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, MODELS, DefaultScope
from tiny_corpus import REPOSITORY, packed, tiny_model

from reloclnet_mm.engine.hooks.data_check import data_difference
from reloclnet_mm.utils.config_checks import check_settings

CONFIGS = sorted((REPOSITORY / 'configs').glob('*.py'))
# Configs of models without weights have no schedule.
TRAINED = [path for path in CONFIGS if 'train_dataloader = None' not in path.read_text()]
UNTRAINED = sorted({*CONFIGS} - {*TRAINED})
TWO_STAGES = [path for path in TRAINED if 'second_stage' in path.read_text()]

FEATURE_SETTINGS = (
    *('data_root', 'feature_files', 'channels', 'normalize'),
    *('clip_length', 'max_clips', 'max_tokens'),
)

# Runs in a process of its own: in this one the package is imported already.
LOOK_UP = """
import json, sys
from mmengine import registry
registry.init_default_scope(sys.argv[1])
found = {}
for name in sys.argv[2:]:
    place, type_name = name.split(':')
    # As Registry.build looks types up.
    with getattr(registry, place).switch_scope_and_registry(None) as chosen:
        cls = chosen.get(type_name)
    found[name] = None if cls is None else f'{cls.__module__}.{cls.__name__}'
print('FOUND' + json.dumps(found))
"""


def look_up(scope, *names):
    """Type names to the classes that a fresh process finds in a default scope."""
    process = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', LOOK_UP, scope, *names],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'PYTHONPATH': str(REPOSITORY), 'OMP_NUM_THREADS': '1'},
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.rpartition('FOUND')[2])


def test_our_types_are_found_from_mmengine_without_imports():
    assert look_up(
        'mmengine',
        'MODELS:reloclnet_mm.ReLoCLNet',
        'DATASETS:reloclnet_mm.QueryDataset',
        'LOOPS:reloclnet_mm.CorpusValLoop',
        'PARAM_SCHEDULERS:reloclnet_mm.BertLinearLR',
    ) == {
        'MODELS:reloclnet_mm.ReLoCLNet': 'reloclnet_mm.models.reloclnet.ReLoCLNet',
        'DATASETS:reloclnet_mm.QueryDataset': 'reloclnet_mm.datasets.base.QueryDataset',
        'LOOPS:reloclnet_mm.CorpusValLoop': 'reloclnet_mm.engine.loops.corpus_loops.CorpusValLoop',
        'PARAM_SCHEDULERS:reloclnet_mm.BertLinearLR': (
            'reloclnet_mm.engine.optimizers.schedulers.BertLinearLR'
        ),
    }


# Models of mmaction2 1.2.0 cannot be imported (its wheel lacks a module), so none of the models.
def test_our_types_are_found_from_mmaction_without_imports():
    pytest.importorskip('mmaction')
    assert look_up(
        'mmaction',
        'TRANSFORMS:reloclnet_mm.PoolClips',
        'DATASETS:reloclnet_mm.QueryDataset',
        'HOOKS:reloclnet_mm.HardNegativeHook',
        'METRICS:reloclnet_mm.MomentRecall',
    ) == {
        'TRANSFORMS:reloclnet_mm.PoolClips': (
            'reloclnet_mm.datasets.transforms.processing.PoolClips'
        ),
        'DATASETS:reloclnet_mm.QueryDataset': 'reloclnet_mm.datasets.base.QueryDataset',
        'HOOKS:reloclnet_mm.HardNegativeHook': (
            'reloclnet_mm.engine.hooks.hard_negatives.HardNegativeHook'
        ),
        'METRICS:reloclnet_mm.MomentRecall': 'reloclnet_mm.evaluation.metrics.recall.MomentRecall',
    }


def test_types_of_mmaction_and_mmengine_are_found_from_ours():
    pytest.importorskip('mmaction')
    assert look_up(
        'reloclnet_mm',
        'METRICS:mmaction.AccMetric',
        'TRANSFORMS:mmaction.LoadLocalizationFeature',
        'HOOKS:SyncBuffersHook',
        'MODELS:ReLoCLNet',
    ) == {
        'METRICS:mmaction.AccMetric': 'mmaction.evaluation.metrics.acc_metric.AccMetric',
        'TRANSFORMS:mmaction.LoadLocalizationFeature': (
            'mmaction.datasets.transforms.loading.LoadLocalizationFeature'
        ),
        'HOOKS:SyncBuffersHook': 'mmengine.hooks.sync_buffer_hook.SyncBuffersHook',
        'MODELS:ReLoCLNet': 'reloclnet_mm.models.reloclnet.ReLoCLNet',
    }


def test_a_model_is_built_from_another_scope():
    with DefaultScope.overwrite_default_scope('mmengine'):
        model = MODELS.build(tiny_model())
    assert type(model).__module__ == 'reloclnet_mm.models.reloclnet'


@pytest.mark.parametrize('path', TWO_STAGES, ids=lambda path: path.stem)
def test_every_config_of_two_stages_builds_stages_that_fit_what_each_sees(path):
    cfg = Config.fromfile(path)
    check_settings(cfg)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(cfg.model)
        loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.val_corpus_dataloader)
        train, *others = (DATASETS.build(dict(x.dataset, lazy_init=True)) for x in loaders)
    assert data_difference(model.second_stage, train) == ''
    for dataset in others:
        assert data_difference(model.first_stage, dataset) == ''
        seen = dataset if dataset.second_stage is None else dataset.second_stage
        assert data_difference(model.second_stage, seen) == ''


@pytest.mark.parametrize('path', sorted({*TRAINED} - {*TWO_STAGES}), ids=lambda path: path.stem)
def test_every_config_builds_a_model_that_fits_its_data(path):
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(cfg.model)
    dataset = cfg.train_dataloader.dataset
    channels, max_clips, max_tokens = dataset.channels, dataset.max_clips, dataset.max_tokens
    widths = model.context_encoder.in_channels
    assert set(channels) == set(dataset.feature_files) == {*widths, 'query'}
    # Two position columns are appended to each stream, or the encoder knows the places.
    appended = 0 if cfg.model.type == 'ReLoCLNetPlus' else 2
    assert widths == {name: channels[name] + appended for name in widths}
    assert model.query_encoder.in_channels == channels['query']
    # A sequence that is longer than a table of positions would be refused.
    inputs = dict(
        query=torch.zeros(1, max_tokens, channels['query']),
        query_mask=torch.ones(1, max_tokens).bool(),
        clip_mask=torch.ones(1, max_clips).bool(),
        **{name: torch.zeros(1, max_clips, width) for name, width in widths.items()},
    )
    assert model(packed(inputs))['start_logits'].shape == (1, max_clips)


@pytest.mark.parametrize('path', UNTRAINED, ids=lambda path: path.stem)
def test_every_config_without_training_builds_a_model_and_names_its_loops(path):
    cfg = Config.fromfile(path)
    check_settings(cfg)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(cfg.model)
    for loader in (cfg.test_dataloader, cfg.val_dataloader):
        assert loader.dataset.channels == cfg.test_corpus_dataloader.dataset.channels
    channels = cfg.test_dataloader.dataset.channels
    for name, width in cfg.model.get('streams', {}).items():
        assert width == channels[name] == channels['query']
    assert not list(model.parameters())
    assert (cfg.train_dataloader, cfg.get('train_cfg')) == (None, None)
    assert (cfg.val_cfg.type, cfg.test_cfg.type) == ('CorpusValLoop', 'CorpusTestLoop')


def seen_in_training(loader):
    """The data set as the stage that is trained sees it."""
    return ConfigDict({**loader.dataset, **(loader.dataset.get('second_stage') or {})})


@pytest.mark.parametrize('path', TRAINED, ids=lambda path: path.stem)
def test_every_config_encodes_a_corpus_as_it_trains(path):
    cfg = Config.fromfile(path)
    training = cfg.train_dataloader.dataset
    steps = [
        step
        for x in training.pipeline
        if x['type'] not in ('LoadQueryFeatures', 'MomentToSpan')
        for step in x.get('transforms', [x])
    ]
    for corpus, queries in (
        (seen_in_training(cfg.val_corpus_dataloader), seen_in_training(cfg.val_dataloader)),
        (seen_in_training(cfg.test_corpus_dataloader), seen_in_training(cfg.test_dataloader)),
    ):
        assert list(corpus.pipeline) == steps
        for dataset in (corpus, queries):
            assert {name: dataset.get(name) for name in FEATURE_SETTINGS} == {
                name: training.get(name) for name in FEATURE_SETTINGS
            }
        assert queries.reader == dict(corpus.reader, ann_file=queries.reader.ann_file)
