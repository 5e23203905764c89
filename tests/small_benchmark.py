"""A benchmark of seconds: the corpus of a few videos, and entries over it."""

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from tiny_corpus import tiny_config

from reloclnet_mm.benchmarking.entries import Entry
from reloclnet_mm.registry import MODELS


def write_config(folder, path, **changes):
    """Write the config of the tiny corpus in ``folder`` to a file."""
    cfg = tiny_config(folder, path.parent / 'work_dir')
    cfg.merge_from_dict(changes)
    cfg.dump(path)
    return path


def write_checkpoint(config, path, seed=0):
    """Write random weights that fit a config."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(Config.fromfile(config).model)
    model.init_weights()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def write_entry(folder, at, seed=0, **changes):
    """Write config and checkpoint of an entry in the folder ``at``."""
    at.mkdir(exist_ok=True)
    config = write_config(folder, at / 'model.py', **changes)
    return Entry(config, write_checkpoint(config, at / 'weights.pth', seed))
