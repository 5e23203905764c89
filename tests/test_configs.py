"""Every config trains, validates and tests, on small data in the layout that it expects."""

import math

import pytest
from generated_data import LOADERS, write_data
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_corpus import REPOSITORY

CONFIGS = sorted((REPOSITORY / 'configs').glob('*.py'))
BATCH_SIZE = 3


def small(cfg, work_dir):
    """A config with a narrow model, one epoch, one process, a quiet console."""
    loading = dict(num_workers=0, persistent_workers=False)
    changes = dict(
        work_dir=str(work_dir),
        experiment_name=f'{work_dir.parent.name}_{work_dir.name}',
        model=dict(embed_dims=16, num_heads=2, test_cfg=dict(num_videos=3)),
        train_cfg=dict(max_epochs=1),
        visualizer=dict(vis_backends=[dict(type='LocalVisBackend')]),
        log_level='WARNING',
        **{name: loading for name in LOADERS},
    )
    cfg.merge_from_dict(changes)
    cfg.train_dataloader.batch_size = BATCH_SIZE
    return cfg


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_validates_and_tests(path, tmp_path):
    cfg = small(Config.fromfile(path), tmp_path / 'run')
    write_data(cfg, tmp_path)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == len(runner.train_dataloader.dataset) / BATCH_SIZE
    scalars = {name: x.current() for name, x in runner.message_hub.log_scalars.items()}
    losses = {name: x for name, x in scalars.items() if 'loss' in name}
    assert losses
    assert all(map(math.isfinite, losses.values()))
    assert 0 <= scalars['val/VCMR/R1@0.5'] <= 100
    tested = runner.test()
    assert tested['VR/R100'] == 100
