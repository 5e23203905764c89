"""A training in which the last process fails or hangs; as a program.

Run by torchrun: `failing_processes.py CORPUS OUT fail|hang`.
"""

import sys
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook

from reloclnet_mm.utils.cli import build_runner

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_corpus import tiny_config

TIMEOUT = 8


class Trouble(Hook):
    def __init__(self, kind):
        self.kind = kind

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if get_rank() == get_world_size() - 1:
            if self.kind == 'fail':
                raise RuntimeError('this process has no more memory')
            time.sleep(3600)


def main(corpus, out, kind):
    torch.set_num_threads(1)
    Config.pretty_text = 'not formatted'
    cfg = tiny_config(corpus, out)
    cfg.merge_from_dict({'launcher': 'pytorch', 'env_cfg.dist_cfg.timeout': TIMEOUT})
    runner = build_runner(cfg)
    runner.register_hook(Trouble(kind))
    runner.train()


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
