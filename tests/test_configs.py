"""Every config trains, validates and tests, on small data in the layout that it expects."""

import math
import re

import pytest
from generated_data import LOADERS, shrink, small, write_data
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from tiny_corpus import REPOSITORY
from tool_processes import run_here

from reloclnet_mm.engine.hooks.data_check import data_difference
from reloclnet_mm.registry import DATASETS, MODELS
from reloclnet_mm.utils.config_checks import check_settings

CONFIGS = sorted((REPOSITORY / 'configs').glob('*.py'))
# Configs of models without weights have no schedule.
TRAINED = [path for path in CONFIGS if 'train_dataloader = None' not in path.read_text()]
UNTRAINED = sorted({*CONFIGS} - {*TRAINED})
BATCH_SIZE = 3


@pytest.mark.parametrize('path', TRAINED, ids=lambda path: path.stem)
def test_a_config_trains_validates_and_tests(path, tmp_path):
    train_validate_and_test(path, tmp_path)


def test_stages_that_process_features_otherwise_train_validate_and_test(tmp_path):
    first, second = (
        REPOSITORY / f'configs/{name}_anet_text.py' for name in ('relocl_plus', 'conquer')
    )
    weights = ('--checkpoint', 'first.pth')
    run_here(tmp_path, 'two_stage_config', first, second, *weights, '--out', 'joined.py')
    train_validate_and_test(tmp_path / 'joined.py', tmp_path)


def train_validate_and_test(path, folder):
    cfg = small(Config.fromfile(path), folder / 'run')
    shrink(cfg.model)
    cfg.train_cfg.max_epochs = 1
    cfg.train_dataloader.batch_size = BATCH_SIZE
    write_data(cfg, folder)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == math.ceil(len(runner.train_dataloader.dataset) / BATCH_SIZE)
    scalars = {name: x.current() for name, x in runner.message_hub.log_scalars.items()}
    losses = {name: x for name, x in scalars.items() if 'loss' in name}
    assert losses
    assert all(map(math.isfinite, losses.values()))
    assert 0 <= scalars['val/VCMR/R1@0.5'] <= 100
    tested = runner.test()
    assert tested['VR/R100'] == 100


@pytest.mark.parametrize('path', UNTRAINED, ids=lambda path: path.stem)
def test_a_config_without_training_tests(path, tmp_path):
    cfg = small(Config.fromfile(path), tmp_path / 'run')
    write_data(cfg, tmp_path)
    assert Runner.from_cfg(cfg).test()['VR/R100'] == 100


def test_the_derived_config_of_the_page_is_checked_and_its_model_fits_its_data(tmp_path):
    (text,) = re.findall(
        r'```python\n(.*?)```', (REPOSITORY / 'configs/README.md').read_text(), re.DOTALL
    )
    path = tmp_path / 'derived.py'
    path.write_text(text.replace("'relocl_", f"'{REPOSITORY}/configs/relocl_"))
    cfg = Config.fromfile(path)
    check_settings(cfg)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(cfg.model)
        for name in LOADERS:
            dataset = DATASETS.build(dict(cfg[name].dataset, lazy_init=True))
            assert data_difference(model, dataset) == ''
            assert dataset.feature_settings == dict(
                feature_files=dict(subtitle='data/mine/words.h5', query='data/mine/queries.h5'),
                channels=dict(subtitle=768, query=768),
                normalize=('subtitle', 'query'),
                clip_length=5.0,
                max_clips=100,
                max_tokens=40,
            )
            split = 'val' if name.startswith('test') else 'train'
            assert dataset.reader['split'] == split
