"""BERT's Adam against a naive version of one number at a time."""

import copy
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from tiny_corpus import CONFIG, tiny_model

from reloclnet_mm.engine.optimizers.bert_adam import BertAdam, clip_norms
from reloclnet_mm.registry import MODELS

SETTINGS = dict(lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1, max_grad_norm=1.0)


def naive_steps(values, gradients, lr, betas, eps, weight_decay, max_grad_norm):
    """The numbers of one tensor after each step."""
    mean, square = [0.0] * len(values), [0.0] * len(values)
    for gradient in gradients:
        scale = 1.0
        if max_grad_norm is not None:
            norm = math.sqrt(sum(g * g for g in gradient))
            scale = min(1.0, max_grad_norm / (norm + 1e-6))
        for i, g in enumerate(gradient):
            mean[i] = betas[0] * mean[i] + (1 - betas[0]) * g * scale
            square[i] = betas[1] * square[i] + (1 - betas[1]) * (g * scale) ** 2
            update = mean[i] / (math.sqrt(square[i]) + eps) + weight_decay * values[i]
            values[i] -= lr * update
        yield list(values)


@pytest.mark.parametrize('max_grad_norm', [None, 1.0, 100.0])
@pytest.mark.parametrize('weight_decay', [0.0, 0.1])
def test_every_step_equals_the_naive_version_a_tensor_at_a_time(max_grad_norm, weight_decay):
    generator = torch.Generator().manual_seed(0)
    settings = SETTINGS | dict(max_grad_norm=max_grad_norm, weight_decay=weight_decay)
    parameters = [
        torch.nn.Parameter(torch.randn(n, generator=generator, dtype=torch.double)) for n in (3, 5)
    ]
    # Of a norm above and of one below 1, so that clipping both together would show.
    gradients = [
        scale * torch.randn(6, len(p), generator=generator, dtype=torch.double)
        for p, scale in zip(parameters, (4.0, 0.2), strict=True)
    ]
    optimizer = BertAdam(parameters, **settings)
    expected = [
        naive_steps(p.tolist(), g.tolist(), **settings)
        for p, g in zip(parameters, gradients, strict=True)
    ]
    for step in range(6):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient[step].clone()
        optimizer.step()
        for parameter, values, gradient in zip(parameters, expected, gradients, strict=True):
            assert parameter.tolist() == pytest.approx(next(values), rel=1e-9)
            assert torch.equal(parameter.grad, gradient[step])


def test_the_first_step_is_not_corrected_for_its_start():
    # (1 - 0.9) · g / (sqrt((1 - 0.999) · g²) + eps) = 0.1 / sqrt(0.001), not 1 as with Adam.
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.double))
    parameter.grad = torch.full_like(parameter, 0.5)
    BertAdam([parameter], lr=1.0, eps=0.0, weight_decay=0.0).step()
    assert parameter.item() == pytest.approx(-0.1 / math.sqrt(0.001))


def test_a_training_goes_on_the_same_from_its_state():
    def trained(steps, parameter=None, state=None):
        parameter = torch.nn.Parameter(torch.ones(4) if parameter is None else parameter)
        optimizer = BertAdam([parameter], **SETTINGS)
        if state is not None:
            optimizer.load_state_dict(state)
        for step in steps:
            parameter.grad = torch.arange(4.0) - step
            optimizer.step()
        return parameter.detach(), copy.deepcopy(optimizer.state_dict())

    whole, _ = trained(range(6))
    half, state = trained(range(3))
    assert torch.equal(trained(range(3, 6), half.clone(), state)[0], whole)
    assert not torch.equal(trained(range(3, 6), half.clone())[0], whole)


def test_parameters_without_a_gradient_stay():
    parameter = torch.nn.Parameter(torch.ones(2))
    BertAdam([parameter], **SETTINGS).step()
    assert parameter.tolist() == [1.0, 1.0]


def test_the_loss_of_a_closure_is_returned():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = BertAdam([parameter], **SETTINGS)

    def closure():
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert (parameter < 1).all()


@pytest.mark.parametrize('factor', [0.1, 1.0, 50.0])
def test_a_gradient_is_clipped_as_pytorch_clips(factor):
    parameter = torch.nn.Parameter(torch.zeros(5))
    parameter.grad = factor * torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])
    (found,) = clip_norms([parameter.grad.clone()], 1.0)
    torch.nn.utils.clip_grad_norm_([parameter], 1.0)
    torch.testing.assert_close(found, parameter.grad)


@pytest.mark.parametrize(
    'wrong', [dict(lr=-1), dict(eps=-1), dict(weight_decay=-1), dict(betas=(0.9, 1.0))]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match='BertAdam: found'):
        BertAdam([torch.nn.Parameter(torch.zeros(1))], **wrong)


def test_only_weights_and_the_norms_after_cross_attention_decay():
    cfg = Config.fromfile(CONFIG)
    model = MODELS.build(tiny_model())
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decay = {
        id(p): group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }
    assert len(decay) == len(list(model.parameters()))
    modules = list(model.named_modules())
    norms = [(name, m) for name, m in modules if isinstance(m, torch.nn.LayerNorm)]
    linears = [m for _, m in modules if isinstance(m, torch.nn.Linear) and m.bias is not None]
    spared = {id(m.bias) for m in linears}
    for name, norm in norms:
        spared.add(id(norm.bias))
        if not name.endswith('cross_norm'):
            spared.add(id(norm.weight))
    assert len(spared) == 2 * len(norms) - 2 + len(linears)
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.0 if id(parameter) in spared else 0.01), name
