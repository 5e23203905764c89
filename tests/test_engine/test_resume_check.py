"""Damaged states to resume from: each is refused with what differs, before anything is changed."""

import copy
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tiny_corpus import tiny_runner, write_corpus

from reloclnet_mm.engine.checkpointing.loading import load_weights_only
from reloclnet_mm.engine.checkpointing.resume_check import resume_difference
from reloclnet_mm.engine.hooks.checkpoint_check import not_finite
from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.random_state import random_state, set_random_state


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp('corpus'))


@pytest.fixture(scope='module')
def trained(folder, tmp_path_factory):
    """A runner after two epochs of three steps."""
    runner = tiny_runner(folder, tmp_path_factory.mktemp('run'), epochs=2)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def saved(trained):
    """The checkpoint of its first epoch."""
    return load_weights_only(f'{trained.work_dir}/epoch_1.pth')


def resume(folder, tmp_path, checkpoint, **settings):
    torch.save(checkpoint, tmp_path / 'damaged.pth')
    settings = dict(load_from=str(tmp_path / 'damaged.pth'), resume=True, epochs=2) | settings
    runner = tiny_runner(folder, tmp_path / 'resumed', **settings)
    runner.train()
    return runner


def changed(value, *path):
    """A change of a checkpoint: sets what is at a path."""

    def change(checkpoint):
        for key in path[:-1]:
            checkpoint = checkpoint[key]
        checkpoint[path[-1]] = value

    return change


def first_state(checkpoint):
    return next(iter(checkpoint['optimizer']['state'].values()))


def in_state(make):
    def change(checkpoint):
        state = first_state(checkpoint)
        state['mean'] = make(state['mean'])

    return change


SCHEDULE = ('param_schedulers', 0)
GROUP = ('optimizer', 'param_groups', 0)
HUB = ('message_hub', 'runtime_info')
REFUSED = {
    'iteration below 0': (changed(-5, 'meta', 'iter'), r'meta\.iter is -5'),
    'broken iteration': (changed(2.5, 'meta', 'iter'), r'meta\.iter is 2\.5'),
    'iteration of a billion': (changed(10**9, 'meta', 'iter'), r'meta\.iter is 1000000000'),
    'one iteration more': (changed(4, 'meta', 'iter'), 'has counted 3 steps, but'),
    'truth value': (changed(True, 'meta', 'epoch'), r'meta\.epoch is True'),
    'epoch past the end': (changed(3, 'meta', 'epoch'), 'the config trains 2 epochs'),
    'seed in words': (changed('one', 'meta', 'seed'), r"meta\.seed is 'one'"),
    'no meta': (lambda c: c.pop('meta'), "has no 'meta'"),
    'no optimizer': (lambda c: c.pop('optimizer'), "has no 'optimizer'.*give it as load_from"),
    'hub without scalars': (lambda c: c['message_hub'].pop('log_scalars'), 'log_scalars is None'),
    'best score in words': (changed('high', *HUB, 'best_score'), "best_score is 'high'"),
    'no schedule': (changed([], 'param_schedulers'), 'found 0 param_schedulers, the config has 1'),
    'schedules left out': (lambda c: c.pop('param_schedulers'), 'found 0 param_schedulers'),
    'second schedule': (
        lambda c: c['param_schedulers'].append(dict(c['param_schedulers'][0])),
        'found 2 param_schedulers, the config has 1',
    ),
    'empty schedule': (changed({}, *SCHEDULE), 'another kind of .* than BertLinearLR'),
    'schedule of another kind': (changed(1, *SCHEDULE, 'T_max'), 'another kind of'),
    'broken step': (changed(float('nan'), *SCHEDULE, 'last_step'), 'last_step is nan'),
    'rates too few': (
        lambda c: c['param_schedulers'][0]['base_values'].pop(),
        r'param_schedulers\[0\]\.base_values is',
    ),
    'rate in words': (changed('0.1', *GROUP, 'lr'), r"param_groups\[0\]\.lr is '0\.1'"),
    'rate of NaN': (changed(float('nan'), *GROUP, 'lr'), r'param_groups\[0\]\.lr is nan'),
    'no rate': (lambda c: c['optimizer']['param_groups'][0].pop('lr'), r'\.lr is None'),
    'one beta': (changed((0.9,), *GROUP, 'betas'), r'betas is \(0\.9,\)'),
    'group too few': (lambda c: c['optimizer']['param_groups'].pop(), r'found \d+ param_groups'),
    'group of no parameters': (changed([], *GROUP, 'params'), 'that is not of 1 parameters'),
    'no groups': (changed(None, 'optimizer', 'param_groups'), 'without'),
    'unknown parameter': (changed({}, 'optimizer', 'state', 10**6), 'none of its parameters'),
    'state of another shape': (in_state(lambda x: x.new_zeros(7, 7)), r'of shape \(7, 7\)'),
    'state of another type': (in_state(torch.Tensor.double), 'torch.float64 of shape'),
    'state with NaN': (in_state(lambda x: x * float('nan')), "'mean' of parameter .* NaN"),
}


@pytest.mark.parametrize('kind', REFUSED)
def test_a_state_that_does_not_fit_the_config_is_described(kind, trained, saved):
    change, finding = REFUSED[kind]
    damaged = copy.deepcopy(saved)
    change(damaged)
    assert resume_difference(saved, trained) == ''
    assert re.search(finding, resume_difference(damaged, trained))


def test_a_state_that_does_not_fit_the_config_is_refused(folder, saved, tmp_path):
    damaged = copy.deepcopy(saved)
    damaged['meta']['iter'] = -5
    with pytest.raises(InputError, match=r'damaged.pth: cannot be resumed from: meta\.iter is -5'):
        resume(folder, tmp_path, damaged)


@pytest.mark.parametrize(
    'settings',
    [
        {'train_dataloader.batch_size': 8, 'default_hooks.logger.interval': 1},
        {'optim_wrapper.optimizer.lr': 0.5},
        {'epochs': 1},
    ],
    ids=str,
)
def test_what_may_change_between_epochs_is_not_refused(settings, folder, saved, tmp_path):
    runner = resume(folder, tmp_path, saved, **settings)
    assert runner.epoch == settings.get('epochs', 2)


def test_a_training_whose_batches_changed_once_is_resumed_again(folder, saved, tmp_path):
    resume(folder, tmp_path, saved, **{'train_dataloader.batch_size': 8})
    again = load_weights_only(tmp_path / 'resumed/epoch_2.pth')
    assert again['meta']['iter'] == 3 + 1
    runner = resume(folder, tmp_path, again, epochs=3, **{'train_dataloader.batch_size': 8})
    assert (runner.epoch, runner.iter) == (3, 3 + 1 + 1)


@pytest.mark.parametrize(
    ('settings', 'finding'),
    [
        (dict(param_scheduler=[]), 'found 1 param_schedulers, the config has 0'),
        (
            dict(param_scheduler=[dict(type='CosineAnnealingLR', T_max=2)]),
            'another kind of .* than CosineAnnealingLR',
        ),
        (dict(optim_wrapper=dict(paramwise_cfg=None)), 'the config has 1$|has 1;'),
    ],
)
def test_a_config_that_does_not_fit_the_state_is_refused(
    settings, finding, folder, saved, tmp_path
):
    with pytest.raises(InputError, match=f'cannot be resumed from: .*{finding}'):
        resume(folder, tmp_path, saved, **settings)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('resumed', [True, False])
def test_weights_that_are_not_finite_are_named_and_refused(value, resumed, folder, saved, tmp_path):
    damaged = copy.deepcopy(saved)
    name = list(damaged['state_dict'])[3]
    damaged['state_dict'][name].flatten()[0] = value
    torch.save(damaged, tmp_path / 'a.pth')
    runner = tiny_runner(
        folder, tmp_path / 'run', load_from=str(tmp_path / 'a.pth'), resume=resumed
    )
    with pytest.raises(InputError, match=f"a.pth: the weights '{name}' have NaN or infinite"):
        runner.train() if resumed else runner.test()


def test_averaged_weights_are_looked_at_too():
    nan = torch.tensor([float('nan')])
    assert 'mean' in not_finite(dict(state_dict={}, ema_state_dict={'mean': nan}))


def test_whole_numbers_in_the_place_of_weights_are_refused(folder, saved, tmp_path):
    damaged = copy.deepcopy(saved)
    name = next(iter(damaged['state_dict']))
    damaged['state_dict'][name] = damaged['state_dict'][name].long()
    torch.save(damaged, tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'of torch.int64, expected torch.float32'):
        tiny_runner(folder, tmp_path / 'run', load_from=str(tmp_path / 'a.pth')).test()


def test_weights_that_became_nan_are_not_saved(folder, tmp_path):
    runner = tiny_runner(folder, tmp_path, custom_hooks=[dict(type='PoisonHook')])
    with pytest.raises(InputError, match=r'epoch 1, iteration 3: .* NaN .* no checkpoint is saved'):
        runner.train()
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize('position', [-5, 625, 10**6, 2.0, None])
def test_a_position_outside_of_the_keys_is_refused(position):
    """NumPy reads there without a check, and the process dies."""
    state = random_state()
    state['numpy'][2] = position
    with pytest.raises(ValueError, match="NumPy's position is"):
        set_random_state(state)


def test_random_states_outside_of_their_range_are_refused_on_resuming(folder, saved, tmp_path):
    damaged = copy.deepcopy(saved)
    damaged['meta']['training']['processes'][0]['random']['numpy'][2] = 10**6
    with pytest.raises(InputError, match='random states or gradients that do not fit'):
        resume(folder, tmp_path, damaged)


@HOOKS.register_module()
class PoisonHook(Hook):
    """Spoils a weight after the last step of the first epoch."""

    def after_train_epoch(self, runner):
        with torch.no_grad():
            next(runner.model.parameters()).fill_(float('nan'))
