"""tools/train.py under `kill -9`."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from interrupted import difference, interruptible_config
from mmengine.runner import find_latest_checkpoint
from tool_processes import REPOSITORY

from reloclnet_mm.engine.checkpointing.loading import load_weights_only

pytestmark = pytest.mark.slow

KILLS = 20
OPTIONS = {
    'train_cfg.max_epochs': 5,
    'default_hooks.checkpoint.by_epoch': False,
    'default_hooks.checkpoint.interval': 1,
    'optim_wrapper.accumulative_counts': 2,
    'train_dataloader.num_workers': 1,
    'train_dataloader.persistent_workers': True,
}
PROGRAM = Path(__file__).with_name('killed_training.py')


def run_killed(config, work_dirs, kills):
    """The exits of the processes of each work dir."""
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / 'tests')])
    request = dict(config=str(config), work_dirs=[str(path) for path in work_dirs], kills=kills)
    finished = subprocess.run(
        [sys.executable, PROGRAM, json.dumps(request)],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': paths},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(finished.stdout.splitlines()[-1])


def end_of(work_dir):
    """What a training left behind, without times and paths."""
    last = load_weights_only(find_latest_checkpoint(str(work_dir)))
    known = last['message_hub']['runtime_info']
    best = load_weights_only(known['best_ckpt'])
    names = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
    return dict(
        last={name: last[name] for name in names},
        best=best['state_dict'],
        training=last['meta']['training'],
        known=[known['best_score'], known['early_stopping']],
        steps=[last['meta']['epoch'], last['meta']['iter']],
        files=sorted(path.name for path in Path(work_dir).glob('*.pth')),
    )


def test_a_training_killed_at_twenty_random_points_ends_as_an_unbroken_one(corpus_folder, tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    print(f'seed of the kills: {seed}')
    draw = random.Random(seed)
    kills = [(draw.randint(1, 60), draw.uniform(0, 0.02)) for _ in range(KILLS)]
    cfg = interruptible_config(corpus_folder, tmp_path / 'unused', OPTIONS)
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='EMAHook', momentum=0.1)]
    cfg.dump(tmp_path / 'config.py')

    run_killed(tmp_path / 'config.py', [tmp_path / 'unbroken'], [])
    # A training may be through before all kills are spent: the next one takes the others.
    killed = [tmp_path / f'killed_{number}' for number in range(4)]
    exits = run_killed(tmp_path / 'config.py', killed, kills)

    deaths = sum(codes.count(-signal.SIGKILL) for codes in exits.values())
    # A kill that comes after the end of a training is spent.
    assert deaths >= KILLS - len(killed)
    expected = end_of(tmp_path / 'unbroken')
    for work_dir in killed:
        assert exits[str(work_dir)][-1] == 0, Path(f'{work_dir}.log').read_text()[-2000:]
        assert difference(expected, end_of(work_dir)) == ''
