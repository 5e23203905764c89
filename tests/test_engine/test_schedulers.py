"""BERT's schedule at every step, from its formula; and when training stops early."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.registry import PARAM_SCHEDULERS
from tiny_corpus import CONFIG, tiny_runner

from reloclnet_mm.engine.optimizers.schedulers import BertLinearLR
from reloclnet_mm.registry import HOOKS


def formula(step, total, warmup):
    """As the design has it: t/(w·T) while t/T < w, then max((t/T - 1)/(w - 1), 0)."""
    if step / total < warmup:
        return step / (warmup * total)
    return max((step / total - 1) / (warmup - 1), 0)


def optimizer(*rates):
    groups = [dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=lr) for lr in rates]
    return torch.optim.SGD(groups, lr=1.0)


def rates_of(scheduler, steps):
    rates = []
    for _ in range(steps):
        rates.append([group['lr'] for group in scheduler.optimizer.param_groups])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


# 10 % of 25 steps is 2.5: warm-up ends between two steps.
@pytest.mark.parametrize(('total', 'warmup'), [(25, 0.1), (100, 0.01), (10, 0.5), (7, 0.0)])
def test_every_step_follows_the_formula(total, warmup):
    scheduler = BertLinearLR(optimizer(2.0, 0.5), warmup=warmup, end=total, by_epoch=False)
    for step, (first, second) in enumerate(rates_of(scheduler, total)):
        assert first == pytest.approx(2.0 * formula(step, total, warmup), abs=1e-12)
        assert second == pytest.approx(0.5 * formula(step, total, warmup), abs=1e-12)


def test_the_first_steps_with_a_broken_warmup_worked_by_hand():
    scheduler = BertLinearLR(optimizer(1.0), warmup=0.1, end=25, by_epoch=False)
    found = [rate for (rate,) in rates_of(scheduler, 5)]
    assert found == pytest.approx([0, 0.4, 0.8, 22 / 22.5, 21 / 22.5])


def test_epochs_are_converted_to_iterations():
    scheduler = PARAM_SCHEDULERS.build(
        dict(
            type='reloclnet_mm.BertLinearLR',
            warmup=0.1,
            by_epoch=True,
            begin=0,
            end=5,
            convert_to_iter_based=True,
        ),
        default_args=dict(optimizer=optimizer(1.0), epoch_length=5),
    )
    assert not scheduler.by_epoch
    found = [rate for (rate,) in rates_of(scheduler, 25)]
    assert found == pytest.approx([formula(step, 25, 0.1) for step in range(25)])


class Rates(Hook):
    """Notes the learning rate with which each step is made."""

    priority = 'HIGHEST'

    def __init__(self):
        self.found = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.found.append(runner.optim_wrapper.get_lr()['lr'][0])


def test_a_training_steps_along_the_formula_also_after_resuming(corpus_folder, tmp_path):
    def trained(**settings):
        runner = tiny_runner(
            corpus_folder,
            tmp_path,
            epochs=3,
            param_scheduler=[dict(type='BertLinearLR', warmup=0.2, convert_to_iter_based=True)],
            custom_hooks=[],
            **settings,
        )
        rates = Rates()
        runner.register_hook(rates)
        runner.train()
        return rates.found

    # 8 queries in batches of 3: 3 steps an epoch, 9 in all.
    expected = [1e-4 * formula(step, 9, 0.2) for step in range(9)]
    assert trained() == pytest.approx(expected)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    assert trained(resume=True) == pytest.approx(expected[6:])


@pytest.mark.parametrize('done', [6, 9])
def test_a_longer_training_follows_the_longer_schedule_from_where_it_resumes(done):
    shorter = BertLinearLR(optimizer(1.0), warmup=0.1, end=9, by_epoch=False)
    rates_of(shorter, done)
    resumed = BertLinearLR(optimizer(1.0), warmup=0.1, end=12, by_epoch=False)
    resumed.load_state_dict(shorter.state_dict())
    found = [rate for (rate,) in rates_of(resumed, 12 - done)]
    assert found == pytest.approx([formula(step, 12, 0.1) for step in range(done, 12)])


def test_a_state_of_the_same_schedule_is_taken_up_unchanged():
    first = BertLinearLR(optimizer(1.0), warmup=0.1, end=9, by_epoch=False)
    rates_of(first, 4)
    second = BertLinearLR(optimizer(1.0), warmup=0.1, end=9, by_epoch=False)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()


@pytest.mark.parametrize('steps_behind', [0, 1, 5])
@pytest.mark.parametrize('resumed', [False, True])
def test_the_rate_is_zero_from_the_end_on(steps_behind, resumed):
    scheduler = BertLinearLR(optimizer(1.0, 2.0), warmup=0.1, end=9, by_epoch=False)
    rates_of(scheduler, 9 + steps_behind)
    if resumed:
        state = scheduler.state_dict()
        scheduler = BertLinearLR(optimizer(1.0, 2.0), warmup=0.1, end=9, by_epoch=False)
        scheduler.load_state_dict(state)
    assert [group['lr'] for group in scheduler.optimizer.param_groups] == [0.0, 0.0]
    assert scheduler.get_last_value() == [0.0, 0.0]
    assert rates_of(scheduler, 2) == [[0.0, 0.0]] * 2


def test_a_shorter_training_is_at_zero_where_its_end_has_passed():
    longer = BertLinearLR(optimizer(1.0), warmup=0.1, end=12, by_epoch=False)
    rates_of(longer, 10)
    resumed = BertLinearLR(optimizer(1.0), warmup=0.1, end=9, by_epoch=False)
    resumed.load_state_dict(longer.state_dict())
    assert resumed.optimizer.param_groups[0]['lr'] == 0.0


@pytest.mark.parametrize('warmup', [-0.1, 1.0, float('nan'), '0.1', None])
def test_a_warmup_that_is_no_share_is_refused(warmup):
    with pytest.raises(ValueError, match=f'BertLinearLR: warmup is {warmup!r}, expected a finite'):
        BertLinearLR(optimizer(1.0), warmup=warmup, end=5)


@pytest.mark.parametrize('wrong', [dict(begin=-1), dict(begin=0.5), dict(end=2.5), dict(end='9')])
def test_steps_that_are_no_whole_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match='expected a whole number'):
        BertLinearLR(optimizer(1.0), **{'end': 9} | wrong)


def test_a_schedule_without_an_end_is_refused():
    with pytest.raises(ValueError, match='end is missing'):
        BertLinearLR(optimizer(1.0))


def original_stop(scores):
    """The epoch after which the authors' loop leaves: its counter exceeds 10."""
    best, without_better = 0.0, 0
    for epoch, score in enumerate(scores, 1):
        if score > best:
            best, without_better = score, 0
        else:
            without_better += 1
            if without_better > 10:
                return epoch
    return None


@pytest.mark.parametrize(
    ('scores', 'stop'),
    [
        ([5.0] + [4.0] * 20, 12),
        ([5.0] + [5.0] * 20, 12),
        # Better again in the last epoch that counts.
        ([5.0] + [4.0] * 10 + [5.01] + [4.0] * 11, 23),
        ([1.0, 2.0, 3.0] + [2.5] * 10, None),
    ],
)
def test_training_stops_after_eleven_epochs_without_a_better_one_as_the_original(scores, stop):
    assert original_stop(scores) == stop
    hooks = Config.fromfile(CONFIG).custom_hooks
    (config,) = (hook for hook in hooks if hook['type'] == 'EarlyStoppingHook')
    hook = HOOKS.build(config | dict(type='reloclnet_mm.EarlyStoppingHook'))
    loop = SimpleNamespace(stop_training=False)
    runner = SimpleNamespace(
        train_loop=loop, message_hub=MessageHub('scores'), logger=SimpleNamespace(info=print)
    )
    stopped = []
    for score in scores:
        hook.after_val_epoch(runner, {config['monitor']: score})
        stopped.append(loop.stop_training)
    assert (stopped.index(True) + 1 if any(stopped) else None) == stop
