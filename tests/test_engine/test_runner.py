"""The console, the log file and the text of the config, in a training of seconds."""

import re
import time
from itertools import pairwise
from types import SimpleNamespace

import mmengine.config.config as mmengine_config
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tiny_corpus import tiny_config

from reloclnet_mm.engine.checkpointing.loading import load_weights_only
from reloclnet_mm.engine.hooks.progress_log import ProgressLoggerHook
from reloclnet_mm.engine.runner import AnyDeviceRunner
from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.cli import build_runner


def built(folder, work_dir, **settings):
    cfg = tiny_config(folder, work_dir, settings.pop('epochs', 1))
    cfg.merge_from_dict(dict(log_level='INFO') | settings)
    return build_runner(cfg)


def train(*args, **settings):
    runner = built(*args, **settings)
    runner.train()
    return runner


def log_of(runner):
    with open(runner.logger.log_file) as file:
        return file.read()


def test_the_console_is_short_and_the_log_file_has_everything(corpus_folder, tmp_path, capfd):
    runner = train(corpus_folder, tmp_path)
    printed = capfd.readouterr().out
    assert len(printed.splitlines()) <= 15, printed
    details = ('System environment:', 'Config:\n', 'Hooks will be executed', 'paramwise_options')
    for detail in details:
        assert detail not in printed
        assert detail in log_of(runner)
    for shown in (runner.logger.log_file, 'Epoch(train) [1][3/3]', 'Epoch(val) [1][1/1]'):
        assert shown in printed
        assert shown in log_of(runner)
    assert 'deprecated' not in printed


def test_a_training_with_nothing_to_resume_says_so(corpus_folder, tmp_path, capfd):
    runner = train(corpus_folder, tmp_path, resume=True)
    printed = capfd.readouterr().out
    assert f'nothing to resume in {tmp_path}: training starts from the beginning' in printed
    assert 'None' not in printed
    assert 'Did not find' not in printed
    assert runner.epoch == 1
    resumed = train(corpus_folder, tmp_path, resume=True, epochs=2)
    assert 'nothing to resume' not in log_of(resumed)
    assert 'resumed epoch: 1' in log_of(resumed)


def test_the_text_of_the_config_is_made_once(corpus_folder, tmp_path, monkeypatch):
    made = []

    def make(text, **settings):
        made.append(text)
        return text, False

    monkeypatch.setattr(mmengine_config, 'FormatCode', make)
    runner = train(corpus_folder, tmp_path, epochs=2)
    assert len(made) == 1
    assert runner.cfg.pretty_text == made[0]
    saved = load_weights_only(tmp_path / 'epoch_2.pth')
    assert saved['meta']['cfg'] == (tmp_path / 'relocl_tvr.py').read_text() == made[0]


@HOOKS.register_module()
class SlowHook(Hook):
    """Makes iterations last."""

    def __init__(self, seconds):
        self.seconds = seconds

    def _before_iter(self, runner, batch_idx, data_batch=None, mode='train'):
        time.sleep(self.seconds)


def test_slow_iterations_are_logged_by_time(corpus_folder, tmp_path):
    settings = {
        'default_hooks.logger.interval': 1000,
        'default_hooks.logger.seconds': 0.25,
        'train_dataloader.batch_size': 1,
        'val_dataloader.batch_size': 1,
        'custom_hooks': [dict(type='SlowHook', seconds=0.1)],
    }
    text = log_of(train(corpus_folder, tmp_path, **settings))
    trained = [int(x) for x in re.findall(r'Epoch\(train\) +\[1\]\[(\d)/8\]', text)]
    validated = [int(x) for x in re.findall(r'Epoch\(val\) +\[1\]\[(\d)/8\]  +eta', text)]
    for lines in (trained, validated):
        assert len(lines) >= 2
        assert all(1 <= b - a <= 3 for a, b in pairwise(lines))


def test_lines_come_by_iterations_or_by_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    hook = ProgressLoggerHook(interval=5, seconds=10)
    due = []
    for iteration in range(12):
        now[0] += 4.0
        if hook.every_n_inner_iters(iteration, 5):
            due.append(iteration + 1)
    # 12 s after the begin, 8 s later by count, then every 12 s or by count.
    assert due == [3, 5, 8, 10]


@HOOKS.register_module()
class BadFeatureHook(Hook):
    """Puts a number into the features of one batch."""

    def __init__(self, value, iteration):
        self.value, self.iteration, self.weights = value, iteration, None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            self.weights = {name: x.clone() for name, x in runner.model.state_dict().items()}
            data_batch['inputs']['query'][0][...] = self.value


def test_a_loss_that_is_not_finite_stops_before_it_reaches_the_weights(corpus_folder, tmp_path):
    runner = built(corpus_folder, tmp_path, epochs=2)
    bad = BadFeatureHook(float('inf'), 4)
    runner.register_hook(bad)
    with pytest.raises(
        InputError, match=r"epoch 2, iteration 5: the loss 'loss_rank_query' is nan"
    ):
        runner.train()
    assert (tmp_path / 'epoch_1.pth').is_file()
    assert not (tmp_path / 'epoch_2.pth').exists()
    weights = runner.model.state_dict()
    assert all(x.equal(weights[name]) for name, x in bad.weights.items())


def warnings_of_collapse(folder, work_dir, **settings):
    runner = train(folder, work_dir, **settings)
    return re.findall(r'WARNING - epoch (\d): both ranking losses', log_of(runner))


def test_ranking_losses_at_the_margin_are_warned_of_once_a_validation(corpus_folder, tmp_path):
    # Without query features all queries are alike, and so are their scores of all videos.
    settings = {
        'custom_hooks': [dict(type='ConstantScoresHook')],
        'epochs': 2,
    }
    assert warnings_of_collapse(corpus_folder, tmp_path, **settings) == ['1', '2']


def test_other_ranking_losses_are_not_warned_of(corpus_folder, tmp_path):
    assert warnings_of_collapse(corpus_folder, tmp_path / 'hinge') == []
    settings = {
        'custom_hooks': [dict(type='ConstantScoresHook')],
        'model.loss_ranking.kind': 'lse',
    }
    assert warnings_of_collapse(corpus_folder, tmp_path / 'lse', **settings) == []


@HOOKS.register_module()
class ConstantScoresHook(Hook):
    """Lets the ranking loss see equal scores."""

    def before_train(self, runner):
        def equal(module, args):
            scores, *others = args
            return (scores * 0, *others)

        runner.model.loss_ranking.register_forward_pre_hook(equal)


def test_a_model_without_weights_is_not_wrapped_for_several_processes():
    # torch refuses to wrap it.
    model = torch.nn.Identity()
    assert AnyDeviceRunner.wrap_model(SimpleNamespace(distributed=True), None, model) is model
