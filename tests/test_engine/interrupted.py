"""A training that can be cut off at a point, and the comparison of its end with another's."""

import random

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS
from mmengine.runner import Runner
from tiny_corpus import tiny_config

from reloclnet_mm.engine.checkpointing.loading import load_weights_only
from reloclnet_mm.utils.random_state import random_state

EPOCHS = 3
STEPS = 3  # an epoch: 8 queries in batches of 3
SCORE = 'VCMR/R1@0.5+0.7'
HOOKS_OF_ALL = [
    dict(type='HardNegativeHook', begin=2, pool_size=2),
    dict(type='EarlyStoppingHook', monitor=SCORE, rule='greater', patience=10, min_delta=0.005),
]
EVERY_ITERATION = {
    'default_hooks.checkpoint.by_epoch': False,
    'default_hooks.checkpoint.interval': 1,
}


class CutOff(BaseException):
    pass


@HOOKS.register_module()
class CutOffHook(Hook):
    """Ends a training when it passes a point for the `count`-th time."""

    priority = 'LOWEST'

    def __init__(self, point, count):
        self.point = point
        self.left = count

    def _pass(self, point):
        self.left -= point == self.point
        if self.left == 0:
            raise CutOff

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._pass('step')

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._pass('validating')

    def after_val_epoch(self, runner, metrics=None):
        self._pass('validated')


@TRANSFORMS.register_module()
class RandomChannel(BaseTransform):
    """Scales a channel of the query with numbers of three generators."""

    def transform(self, results):
        scale = random.random() + np.random.rand() + torch.rand(()).item()
        tokens = results['query_tokens'].copy()
        tokens[:, 0] *= scale
        return results | dict(query_tokens=tokens)


def interruptible_config(folder, work_dir, options=()):
    cfg = tiny_config(folder, work_dir, EPOCHS)
    cfg.train_dataloader.dataset.pipeline.insert(2, dict(type='RandomChannel'))
    cfg.custom_hooks = HOOKS_OF_ALL
    cfg.merge_from_dict(dict(options))
    return cfg


def train(cfg, run, *, resume=False, cut=None):
    """Train to the end, or to the cut; returns the runner.

    Args:
        cfg: Of :func:`interruptible_config`.
        run: A name that no other run in this process has.
        resume: Whether to go on in the work dir.
        cut: Point and count of :class:`CutOffHook`.
    """
    cfg = cfg.copy()
    cfg.update(experiment_name=f'{cfg.experiment_name}_{run}', resume=resume)
    if cut:
        cutting = dict(type='CutOffHook', point=cut[0], count=cut[1])
        cfg.custom_hooks = [*cfg.custom_hooks, cutting]
    runner = Runner.from_cfg(cfg)
    if cut:
        with pytest.raises(CutOff):
            runner.train()
    else:
        runner.train()
    return runner


def outcome(runner):
    """Everything that interruptions must leave as it is."""
    last = load_weights_only(runner.message_hub.get_info('last_ckpt'))
    known = last['message_hub']['runtime_info']
    return dict(
        model=runner.model.state_dict(),
        saved=[last.get('state_dict'), last.get('ema_state_dict')],
        optimizer=last['optimizer'],
        schedules=last['param_schedulers'],
        random=random_state(),
        known=[known.get(name) for name in ('best_score', 'early_stopping')],
        steps=[runner.epoch, runner.iter, last['meta']['epoch'], last['meta']['iter']],
        best=best_weights(known.get('best_ckpt')),
    )


def best_weights(path):
    return load_weights_only(path)['state_dict'] if path else None


def difference(first, second, place=''):
    """Where two nested values differ in a bit; empty if nowhere."""
    if isinstance(first, torch.Tensor):
        same = torch.equal(first, second)
    elif isinstance(first, dict):
        if first.keys() != second.keys():
            return f'{place}: {first.keys() ^ second.keys()}'
        return ''.join(difference(first[key], second[key], f'{place}/{key}') for key in first)
    elif isinstance(first, list | tuple):
        if len(first) != len(second):
            return f'{place}: lengths'
        pairs = enumerate(zip(first, second, strict=True))
        return ''.join(difference(a, b, f'{place}/{i}') for i, (a, b) in pairs)
    else:
        same = first == second
    return '' if same else f'{place} '
