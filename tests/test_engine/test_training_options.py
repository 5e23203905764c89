"""mmengine's options, each through a training of a few steps."""

import copy

import pytest
import torch
from mmengine.hooks import Hook
from tiny_corpus import tiny_runner

from reloclnet_mm.engine.checkpointing.loading import load_weights_only
from reloclnet_mm.engine.optimizers import bfloat16
from reloclnet_mm.models.dropout import Dropout


class Watch(Hook):
    """Keeps losses and weights after each iteration, and the weights that are validated."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.weights = []
        self.losses = []
        self.validated = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.weights.append(copy.deepcopy(runner.model.state_dict()))
        self.losses.append(float(outputs['loss']))

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.validated.append(copy.deepcopy(runner.model.state_dict()))


def watched(folder, work_dir, epochs=2, **settings):
    settings = {'train_dataloader.batch_size': 4, 'custom_hooks': []} | settings
    runner = tiny_runner(folder, work_dir, epochs=epochs, **settings)
    for module in runner.model.modules():
        if isinstance(module, Dropout):
            module.probability = 0.0
        elif hasattr(module, 'dropout') and isinstance(module.dropout, float):
            module.dropout = 0.0
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    return runner, watch


def test_averaged_weights_are_those_of_the_formula_and_are_validated(corpus_folder, tmp_path):
    ema = dict(type='EMAHook', momentum=0.25)
    _, watch = watched(corpus_folder, tmp_path, custom_hooks=[ema])
    # The first step copies, each later one moves by a quarter.
    expected = watch.weights[0]
    for weights in watch.weights[1:]:
        expected = {key: 0.75 * x + 0.25 * weights[key] for key, x in expected.items()}
    saved = load_weights_only(tmp_path / 'epoch_2.pth')
    for key, x in expected.items():
        torch.testing.assert_close(saved['state_dict'][key], x, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(watch.validated[-1][key], x, rtol=1e-5, atol=1e-7)
        # Training goes on with its own.
        assert torch.equal(saved['ema_state_dict'][f'module.{key}'], watch.weights[-1][key])


def test_accumulated_gradients_step_once_a_window(corpus_folder, tmp_path):
    _, watch = watched(
        corpus_folder,
        tmp_path,
        **{'optim_wrapper.accumulative_counts': 2, 'train_dataloader.batch_size': 2},
    )
    changed = [
        any(not torch.equal(x, after[key]) for key, x in before.items())
        for before, after in zip(watch.weights, watch.weights[1:], strict=False)
    ]
    assert len(watch.weights) == 8
    assert changed == [True, False, True, False, True, False, True]


def test_accumulation_of_the_same_batch_is_a_step_on_it(corpus_folder, tmp_path):
    """Losses contrast within a batch, so halves of one are not the whole; twice the same is."""
    runner = tiny_runner(corpus_folder, tmp_path, **{'model.dropout': 0, 'model.input_dropout': 0})
    runner.model.loss_ranking.pool_size = 1
    batch = next(iter(runner.train_dataloader))
    gradients = []
    for counts in (1, 2):
        wrapper = runner.build_optim_wrapper(
            dict(
                type='OptimWrapper', optimizer=dict(type='SGD', lr=0.0), accumulative_counts=counts
            )
        )
        wrapper.initialize_count_status(runner.model, 0, 2)
        runner.model.zero_grad()
        for _ in range(counts):
            data = runner.model.data_preprocessor(batch, True)
            losses, _ = runner.model.parse_losses(runner.model(**data, mode='loss'))
            wrapper.backward(wrapper.scale_loss(losses))
        gradients.append([x.grad.clone() for x in runner.model.parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-8)


def test_a_clipped_gradient_has_the_norm_asked_for(corpus_folder, tmp_path):
    clip = dict(max_norm=1e-3, norm_type=2)
    norms, before = [], {}

    class Norms(Hook):
        def before_train(self, runner):
            before.update(copy.deepcopy(runner.model.state_dict()))

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            norms.append(runner.message_hub.get_scalar('train/grad_norm').current())

    runner = tiny_runner(
        corpus_folder,
        tmp_path,
        custom_hooks=[],
        optim_wrapper=dict(
            _delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0), clip_grad=clip
        ),
        param_scheduler=[],
        train_dataloader=dict(batch_size=8),
    )
    runner.register_hook(Norms())
    runner.train()
    after = runner.model.state_dict()
    moved = torch.cat([(after[key] - x).flatten() for key, x in before.items()]).norm()
    # One step of learning rate 1 moves as far as the gradient is long.
    assert norms[0] > 1e-3
    assert float(moved) == pytest.approx(1e-3, rel=1e-2)


def test_bfloat16_trains_and_keeps_weights_in_float32(corpus_folder, tmp_path, monkeypatch):
    # torch imitates what a CPU cannot do, slowly.
    monkeypatch.setattr(bfloat16, 'cpu_capabilities', lambda: dict(amx_bf16=True))
    _, exact = watched(corpus_folder, tmp_path / 'float32')
    runner, rounded = watched(
        corpus_folder, tmp_path / 'bfloat16', **{'optim_wrapper.type': 'Bfloat16OptimWrapper'}
    )
    assert all(x.dtype == torch.float32 for x in runner.model.parameters())
    assert rounded.losses != exact.losses
    assert rounded.losses == pytest.approx(exact.losses, rel=0.05)


@pytest.mark.slow
def test_a_compiled_model_has_the_losses_of_the_plain_one(corpus_folder, tmp_path):
    # The hardest negative is drawn without chance, which a compiler may draw otherwise. What
    # torch 2.13's inductor makes of the backward pass aborts on a CPU with several threads.
    settings = {'model.loss_ranking.pool_size': 1}
    backend = dict(backend='aot_eager')
    _, plain = watched(corpus_folder, tmp_path / 'plain', epochs=1, **settings)
    _, compiled = watched(
        corpus_folder, tmp_path / 'compiled', epochs=1, compile=backend, **settings
    )
    assert compiled.losses == pytest.approx(plain.losses, rel=1e-4)
