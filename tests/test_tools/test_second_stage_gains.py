"""A first stage and a second one trained on a generated corpus, from files to recalls."""

import numpy as np
import pytest
from tool_processes import REPOSITORY, run_here

from reloclnet_mm.utils.run_logs import read_scalars

FIRST = REPOSITORY / 'configs/relocl_planted.py'
SECOND = REPOSITORY / 'configs/conquer_planted.py'
# Short videos, few concepts and little noise: quickly trained on, and yet far from 100 for a first
# stage, which compares a whole query with single clips.
CORPUS = [
    *('--num-train-videos', 200, '--num-val-videos', 100, '--num-test-videos', 0),
    *('--mean-clips', 16, '--num-concepts', 24, '--noise', 0.2),
]
# Trained for longer than its config says, for a second stage that only beats a poor first one would
# show little.
FIRST_EPOCHS, SECOND_EPOCHS, SECOND_LR = 10, 5, 2e-3
IN_THIS_PROCESS = [
    f'{name}_dataloader.{setting}'
    for name in ('train', 'val', 'val_corpus')
    for setting in ('num_workers=0', 'persistent_workers=False')
]
RECALLS = ('VCMR/R1@0.5', 'VCMR/R1@0.7', 'VR/R1')
SEEDS = (4, 5, 6)


def train(folder, config, work_dir, seed, epochs, *options):
    """The recalls after the last epoch."""
    settings = [f'train_cfg.max_epochs={epochs}', f'train_cfg.val_interval={epochs}', *options]
    args = ['--work-dir', work_dir, '--seed', seed, '--cfg-options', *IN_THIS_PROCESS, *settings]
    run_here(folder, 'train', config, *args)
    logged = read_scalars(folder / work_dir)['val']
    return [logged[name][epochs] for name in RECALLS]


def train_both(folder, seed):
    """The recalls of a first stage, and of a second one over it."""
    first = train(folder, FIRST, f'first_{seed}', seed, FIRST_EPOCHS)
    checkpoint, lists = f'first_{seed}/epoch_{FIRST_EPOCHS}.pth', f'lists_{seed}.safetensors'
    args = ['--split', 'train', '--out', f'data/planted/{lists}']
    run_here(folder, 'first_stage_lists', FIRST, checkpoint, *args)
    over_it = [
        f'model.first_stage.init_cfg.checkpoint={checkpoint}',
        f'train_dataloader.dataset.lists={lists}',
        f'optim_wrapper.optimizer.lr={SECOND_LR}',
    ]
    return first, train(folder, SECOND, f'second_{seed}', seed, SECOND_EPOCHS, *over_it)


@pytest.mark.slow
def test_a_second_stage_finds_more_moments_than_its_first_by_more_than_gains_differ(tmp_path):
    run_here(tmp_path, 'make_planted_corpus', 'data/planted', *CORPUS)
    recalls = np.array([train_both(tmp_path, seed) for seed in SEEDS])
    # General scoring leaves the order of videos to the first stage.
    assert np.array_equal(recalls[:, 0, 2], recalls[:, 1, 2])
    # Each second stage beside its own first: how good the first is differs more between seeds.
    gains = recalls[:, 1, :2] - recalls[:, 0, :2]
    assert (gains > 0).all(), recalls
    assert (gains.mean(0) > gains.std(0, ddof=1)).all(), recalls
