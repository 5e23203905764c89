"""A training that was cut off and resumed ends with the very bits of one that was not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from interrupted import (
    EPOCHS,
    EVERY_ITERATION,
    HOOKS_OF_ALL,
    STEPS,
    difference,
    interruptible_config,
    outcome,
    train,
)
from mmengine.hooks import EarlyStoppingHook as MMEngineEarlyStoppingHook
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from reloclnet_mm.engine.checkpointing.loading import install
from reloclnet_mm.engine.hooks.early_stopping import EarlyStoppingHook
from reloclnet_mm.engine.loops.resumable_loop import ResumableTrainLoop, set_open_gradients
from reloclnet_mm.errors import InputError

WORKERS = {
    f'{name}_dataloader.{key}': value
    for name in ('train', 'val')
    for key, value in dict(num_workers=1, persistent_workers=True).items()
}
# In each: places where the training is cut off.
CASES = dict(
    epochs=({}, [('step', STEPS + 1), ('step', STEPS + 2)]),
    validations=({}, [('validating', 1), ('validated', 2)]),
    last_validation=({}, [('validating', EPOCHS)]),
    iterations=(EVERY_ITERATION, [('step', 2), ('step', 5)]),
    ends_of_epochs=(EVERY_ITERATION, [('step', STEPS), ('validating', 1)]),
    averaged_weights=(
        EVERY_ITERATION | dict(custom_hooks=[*HOOKS_OF_ALL, dict(type='EMAHook', momentum=0.1)]),
        [('step', 4), ('validating', 1)],
    ),
    workers_that_persist=(
        EVERY_ITERATION | WORKERS,
        [('step', STEPS + 2), ('validating', 1)],
    ),
    accumulation=(
        EVERY_ITERATION | {'optim_wrapper.accumulative_counts': 4},
        [('step', 2), ('step', 4)],
    ),
    bfloat16=(
        EVERY_ITERATION | {'optim_wrapper.type': 'Bfloat16OptimWrapper'},
        [('step', 1), ('step', 4)],
    ),
)


@pytest.fixture(autouse=True)
def weights_only_loader():
    install()


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
def test_an_interrupted_training_ends_as_an_unbroken_one(case, corpus_folder, tmp_path):
    options, cuts = CASES[case]
    unbroken = train(interruptible_config(corpus_folder, tmp_path / 'a', options), 0)
    expected = outcome(unbroken)
    cfg = interruptible_config(corpus_folder, tmp_path / 'b', options)
    for number, cut in enumerate(cuts):
        train(cfg, number, resume=number > 0, cut=cut)
    resumed = train(cfg, 'last', resume=True)
    assert difference(expected, outcome(resumed)) == ''


def cut_off(corpus_folder, work_dir, cut, options=()):
    """The config of a training that was cut off."""
    cfg = interruptible_config(corpus_folder, work_dir, options)
    train(cfg, 'cut', cut=cut)
    return cfg


def test_the_batches_left_of_an_epoch_and_only_these_are_trained_on(corpus_folder, tmp_path):
    cfg = cut_off(corpus_folder, tmp_path, ('step', STEPS + 2), EVERY_ITERATION)
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='BatchNotingHook')]
    resumed = train(cfg, 'resumed', resume=True)
    noted = next(hook for hook in resumed.hooks if isinstance(hook, BatchNotingHook)).noted
    order = {epoch: shuffled(resumed, epoch) for epoch in (1, 2)}
    # of the second epoch two batches of three were done; the third has two samples
    assert noted == [(1, 2, order[1][6:]), *((2, i, order[2][3 * i : 3 * i + 3]) for i in range(3))]


@HOOKS.register_module()
class BatchNotingHook(Hook):
    """Notes epoch, place and queries of each batch."""

    def __init__(self):
        self.noted = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        queries = [sample.query_id for sample in data_batch['data_samples']]
        self.noted.append((runner.epoch, batch_idx, queries))


def shuffled(runner, epoch):
    """The ids of the queries in the order of an epoch, as DefaultSampler draws it."""
    generator = torch.Generator().manual_seed(runner.train_dataloader.sampler.seed + epoch)
    dataset = runner.train_dataloader.dataset
    order = torch.randperm(len(dataset), generator=generator).tolist()
    return [dataset.get_data_info(index)['query_id'] for index in order]


def test_within_an_epoch_the_batches_must_be_the_same(corpus_folder, tmp_path):
    cfg = cut_off(corpus_folder, tmp_path, ('step', 2), EVERY_ITERATION)
    cfg.train_dataloader.batch_size = 2
    with pytest.raises(
        InputError, match='within an epoch of 3 batches in each of 1 processes, but'
    ):
        train(cfg, 'other', resume=True)


def test_a_finished_training_is_left_as_it_is(corpus_folder, tmp_path):
    cfg = interruptible_config(corpus_folder, tmp_path)
    finished = outcome(train(cfg, 'whole'))
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='CutOffHook', point='validated', count=1)]
    assert difference(finished, outcome(train(cfg, 'again', resume=True))) == ''


def test_early_stopping_goes_on_counting(corpus_folder, tmp_path):
    # At a learning rate of 0 no validation is better than the first one.
    options = {'optim_wrapper.optimizer.lr': 0.0, 'custom_hooks': [HOOKS_OF_ALL[1] | PATIENCE]}
    cfg = cut_off(corpus_folder, tmp_path, ('validated', 2), options | {'train_cfg.max_epochs': 9})
    resumed = train(cfg, 'resumed', resume=True)
    assert resumed.epoch == 3
    known = resumed.message_hub.get_info('early_stopping')
    assert known['wait_count'] == 2
    assert train(cfg, 'once more', resume=True).epoch == 3


@pytest.mark.parametrize('patience', [1, 2, 3, 5])
@pytest.mark.parametrize('cut', [0, 1, 2, 4, 7])
@pytest.mark.parametrize('seed', range(3))
def test_early_stopping_counts_as_mmengine_does_and_goes_on_after_a_cut(patience, cut, seed):
    settings = dict(monitor='score', rule='greater', patience=patience, min_delta=0.5)
    scores = np.random.default_rng(seed).integers(0, 8, 30) / 2
    expected = validations(MMEngineEarlyStoppingHook(**settings), scores, hub())
    known = hub()
    found = validations(EarlyStoppingHook(**settings), scores[:cut], known)
    if found == cut:
        found += validations(EarlyStoppingHook(**settings), scores[cut:], known)
    assert found == expected


def hub():
    hub = SimpleNamespace(runtime_info={})
    hub.update_info = hub.runtime_info.__setitem__
    return hub


def validations(hook, scores, message_hub):
    """The number of validations until the hook stops the training."""
    loop = SimpleNamespace(stop_training=False)
    logger = SimpleNamespace(info=lambda text: None)
    runner = SimpleNamespace(message_hub=message_hub, train_loop=loop, logger=logger)
    hook.before_run(runner)
    hook.before_train(runner)
    for done, score in enumerate(scores):
        if loop.stop_training:
            return done
        hook.after_val_epoch(runner, dict(score=float(score)))
    return len(scores)


PATIENCE = dict(patience=2, min_delta=0.005)


@pytest.mark.parametrize('known', [3, dict(best_score='high', wait_count=1), dict(best_score=1.0)])
def test_a_foreign_state_of_early_stopping_is_refused(known):
    hook = HOOKS.build(dict(type='reloclnet_mm.EarlyStoppingHook', monitor='score', rule='greater'))
    hub = SimpleNamespace(runtime_info=dict(early_stopping=known))
    runner = SimpleNamespace(message_hub=hub, train_loop=SimpleNamespace(stop_training=False))
    with pytest.raises(InputError, match='for early stopping, expected'):
        hook.before_train(runner)


@pytest.mark.parametrize(
    'damage', [dict(processes=3), dict(batches='1'), dict(batches=2), dict(extra=1)]
)
def test_a_foreign_state_of_training_is_refused(damage):
    loop = ResumableTrainLoop.__new__(ResumableTrainLoop)
    state = dict(
        processes=[], batches=0, epoch_length=1, validated=True, loaders=[], sampler_seed=None
    )
    with pytest.raises(InputError, match='cannot be read'):
        loop.resume_from(state | damage)


@pytest.mark.parametrize(
    ('gradient', 'finding'),
    [
        (torch.zeros(3, 2), r'of shape \(3, 2\), expected torch.float32 of \(2, 3\)'),
        (torch.zeros(2, 3).double(), 'is torch.float64 of shape'),
    ],
)
def test_a_gradient_that_does_not_fit_its_parameter_is_refused(gradient, finding):
    model = torch.nn.Linear(3, 2)
    with pytest.raises(ValueError, match=finding):
        set_open_gradients(model, dict(weight=gradient))
    assert model.weight.grad is None
