"""BERT's Adam against a naive version of one number at a time; bfloat16 where a CPU has it."""

import copy
import math
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from tiny_corpus import CONFIG, tiny_model

from reloclnet_mm.engine.optimizers import bfloat16
from reloclnet_mm.engine.optimizers.bert_adam import BertAdam, clip_norms
from reloclnet_mm.engine.optimizers.bfloat16 import Bfloat16OptimWrapper, multiplies_bfloat16
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
    ('wrong', 'message'),
    [
        (dict(lr=-1), 'lr is -1, expected a finite number ≥ 0'),
        (dict(lr=math.nan), 'lr is nan'),
        (dict(lr='1e-4'), "lr is '1e-4'"),
        (dict(eps=-1), 'eps is -1'),
        (dict(eps=math.inf), 'eps is inf'),
        (dict(weight_decay=-1), 'weight_decay is -1'),
        (dict(betas=(0.9, 1.0)), 'betas[1] is 1.0, expected a finite number ≥ 0 and < 1'),
        (dict(betas=(math.nan, 0.9)), 'betas[0] is nan'),
        (dict(betas=0.9), 'betas is 0.9, expected two numbers'),
        (dict(betas=(0.9,)), 'betas is (0.9,), expected two numbers'),
        (dict(max_grad_norm=0), 'max_grad_norm is 0, expected a finite number > 0'),
        (dict(max_grad_norm=math.nan), 'max_grad_norm is nan'),
    ],
)
@pytest.mark.parametrize('in_a_group', [False, True])
def test_impossible_settings_are_refused(wrong, message, in_a_group):
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    with pytest.raises(ValueError, match=re.escape(f'BertAdam: {message}')):
        BertAdam([dict(params=parameters, **wrong)] if in_a_group else parameters, **wrong)
    if in_a_group:
        with pytest.raises(ValueError, match=re.escape(f'BertAdam: {message}')):
            BertAdam([dict(params=parameters, **wrong)])


def test_betas_may_be_a_list():
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    BertAdam([parameter], betas=[0.8, 0.9]).step()
    assert parameter.item() < 1


@pytest.mark.parametrize(
    ('capabilities', 'capable'),
    [
        (dict(avx2=True, avx512_bf16=False, amx_bf16=False), False),
        (dict(avx512_f=True, avx512_bw=True), False),
        (dict(avx512_bf16=True, amx_bf16=False), True),
        (dict(avx512_bf16=False, amx_bf16=True), True),
        ({}, False),
    ],
)
def test_a_cpu_multiplies_bfloat16_where_it_has_instructions_for_it(capabilities, capable):
    assert multiplies_bfloat16(capabilities) is capable


def test_a_step_is_in_bfloat16_only_where_the_cpu_multiplies_in_it():
    model, x = torch.nn.Linear(8, 4), torch.randn(3, 8)
    wrapper = Bfloat16OptimWrapper(BertAdam(model.parameters()))
    capable = multiplies_bfloat16(torch.cpu.get_capabilities())
    with wrapper.optim_context(model):
        y = model(x)
    assert y.dtype == (torch.bfloat16 if capable else torch.float32)
    assert torch.equal(y, model(x)) != capable


def test_a_cpu_without_bfloat16_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(bfloat16, 'cpu_capabilities', dict)
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handlers', [caplog.handler])
    model = torch.nn.Linear(8, 4)
    wrapper = Bfloat16OptimWrapper(BertAdam(model.parameters()))
    for _ in range(2):
        with wrapper.optim_context(model):
            assert model(torch.randn(3, 8)).dtype == torch.float32
    assert caplog.text.count('so training computes in float32') == 1


def test_a_cpu_with_bfloat16_computes_in_it(monkeypatch):
    monkeypatch.setattr(bfloat16, 'cpu_capabilities', lambda: dict(amx_bf16=True))
    model = torch.nn.Linear(8, 4)
    with Bfloat16OptimWrapper(BertAdam(model.parameters())).optim_context(model):
        assert model(torch.randn(3, 8)).dtype == torch.bfloat16


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
