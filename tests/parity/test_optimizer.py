"""The trajectory of BERT's Adam with its schedule."""

import numpy as np
import torch
from goldens import OUTPUT_TOLERANCE, read_meta, relative_error
from mmengine.registry import DefaultScope

from reloclnet_mm.registry import OPTIMIZERS, PARAM_SCHEDULERS


def test_weights_after_every_step_equal_the_original(bert_adam_golden):
    golden = np.load(bert_adam_golden)
    meta = read_meta(golden)
    tensors = sorted(name.split('/')[1] for name in golden.files if name.startswith('w0/'))
    parameters = [torch.nn.Parameter(torch.from_numpy(golden[f'w0/{i}'])) for i in tensors]
    groups = [
        dict(params=[parameter], weight_decay=decay)
        for parameter, decay in zip(parameters, meta['weight_decay'], strict=True)
    ]
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        optimizer = OPTIMIZERS.build(
            dict(
                type='BertAdam',
                params=groups,
                lr=meta['lr'],
                betas=tuple(meta['betas']),
                eps=meta['eps'],
                max_grad_norm=meta['max_grad_norm'],
            )
        )
        scheduler = PARAM_SCHEDULERS.build(
            dict(
                type='BertLinearLR',
                optimizer=optimizer,
                warmup=meta['warmup'],
                end=meta['t_total'],
                by_epoch=False,
            )
        )
    steps = sum(name.endswith('/0') for name in golden.files if name.startswith('grad'))
    for step in range(steps):
        for i, parameter in zip(tensors, parameters, strict=True):
            parameter.grad = torch.from_numpy(golden[f'grad{step}/{i}'])
        optimizer.step()
        scheduler.step()
        for i, parameter in zip(tensors, parameters, strict=True):
            expected = golden[f'w{step + 1}/{i}']
            assert relative_error(parameter.detach().numpy(), expected) < OUTPUT_TOLERANCE
