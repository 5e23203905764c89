"""What each process of a training draws and trains on; as a program.

Run by torchrun: `drawing_processes.py CORPUS OUT`; OUT/drawn.json has an entry for each process.
"""

import json
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook

from reloclnet_mm.utils.cli import build_runner

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_corpus import tiny_config


class Note(Hook):
    """Notes the queries of each batch, and the numbers that would be drawn for it."""

    def __init__(self):
        self.batches = []
        self.numbers = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches.append([sample.query_id for sample in data_batch['data_samples']])
        with torch.random.fork_rng():
            self.numbers.append(torch.rand(2).tolist())


def main(corpus, out):
    torch.set_num_threads(1)
    Config.pretty_text = 'not formatted'
    cfg = tiny_config(corpus, out)
    cfg.merge_from_dict({'launcher': 'pytorch', 'train_dataloader.batch_size': 2})
    runner = build_runner(cfg)
    note = Note()
    runner.register_hook(note)
    runner.train()
    first = next(runner.model.parameters()).flatten()[:5].tolist()
    seed = runner.train_dataloader.sampler.seed
    own = dict(batches=note.batches, numbers=note.numbers, weights=first, seed=seed)
    gathered = all_gather_object(own)
    if is_main_process():
        (out / 'drawn.json').write_text(json.dumps(gathered))


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))
