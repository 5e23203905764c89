"""A training whose processes may be killed after an iteration; as a program.

Run by torchrun: `killed_processes.py CORPUS OUT ITERATION`; 0 kills none. It resumes where OUT
has a checkpoint.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import barrier
from mmengine.hooks import Hook

from reloclnet_mm.utils.cli import build_runner

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_corpus import tiny_config

SETTINGS = {
    'launcher': 'pytorch',
    'resume': True,
    'train_dataloader.batch_size': 2,
    'default_hooks.checkpoint.by_epoch': False,
    'model.gather_negatives': True,
}


class Kill(Hook):
    """Kills its own process, after the checkpoint of the iteration."""

    priority = 'LOWEST'

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            # The launcher ends all processes with the first: the one that writes has to be done.
            barrier()
            os.kill(os.getpid(), signal.SIGKILL)


def main(corpus, out, iteration):
    torch.set_num_threads(1)
    Config.pretty_text = 'not formatted'
    cfg = tiny_config(corpus, out, epochs=3)
    cfg.merge_from_dict(SETTINGS)
    runner = build_runner(cfg)
    runner.register_hook(Kill(iteration))
    runner.train()


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
