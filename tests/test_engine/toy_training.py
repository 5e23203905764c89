"""A training of seconds with everything that mmengine puts into a checkpoint.

Run as a program it trains, or goes on, in the folder given, until it is done or killed.
"""

import logging
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

import reloclnet_mm.engine  # noqa: F401
from reloclnet_mm.engine.checkpointing import loading as checkpoint


class ToyModel(BaseModel):
    def __init__(self, extra_size: int = 0):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        nn.init.constant_(self.linear.weight, 0.5)
        nn.init.constant_(self.linear.bias, 0.0)
        self.register_buffer('extra', torch.zeros(extra_size))

    def forward(self, inputs, targets, mode='tensor'):
        error = (self.linear(inputs).squeeze(-1) - targets).square()
        return dict(loss=error.mean()) if mode == 'loss' else [error]


class ToyData(Dataset):
    @property
    def metainfo(self):
        return dict(names=('a', 'b'), scale=np.array([1.0, 2.0]))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.tensor([index / 8, 1.0]), torch.tensor(index / 4)


class ToyMetric(BaseMetric):
    """A score that rises with every epoch, so that each one is the best."""

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        epoch = MessageHub.get_current_instance().get_info('epoch')
        return dict(score=np.float64(epoch), loss=float(epoch))


def toy_runner(work_dir, *, hook=None, epochs=4, resume=False, load_from=None, extra_size=0):
    """A Runner with EMA, two schedules, validation every epoch and `hook` for checkpoints."""
    loader = dict(
        dataset=ToyData(),
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    return Runner(
        model=ToyModel(extra_size),
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3),
            dict(type='CosineAnnealingLR', T_max=4, end=4),
        ],
        val_dataloader=loader | dict(sampler=dict(type='DefaultSampler', shuffle=False)),
        val_cfg=dict(),
        val_evaluator=[ToyMetric(prefix='toy')],
        default_hooks=dict(checkpoint=hook or dict(type='CheckpointHook', interval=1)),
        custom_hooks=[dict(type='EMAHook')],
        randomness=dict(seed=3),
        resume=resume,
        load_from=load_from,
        log_level=logging.ERROR,
        experiment_name=f'{Path(work_dir).name}_{id(loader)}',
    )


ATOMIC_HOOK = dict(
    type='reloclnet_mm.AtomicCheckpointHook',
    interval=1,
    max_keep_ckpts=1,
    save_best='toy/score',
    rule='greater',
)

if __name__ == '__main__':
    checkpoint.install()
    runner = toy_runner(
        sys.argv[1], hook=ATOMIC_HOOK, epochs=int(sys.argv[2]), resume=True, extra_size=1_000_000
    )
    runner.train()
