import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_training
from mmengine.runner import find_latest_checkpoint
from toy_training import ATOMIC_HOOK, toy_runner

from reloclnet_mm.engine.checkpointing.loading import install, load_weights_only
from reloclnet_mm.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from reloclnet_mm.errors import InputError

# What two epochs do to the disk, a step each: fsync and replace for a file written, remove.
# Epoch 1: checkpoint, pointer, best, checkpoint with the best's name, pointer.
# Epoch 2: the same, and the outdated checkpoint and the outdated best are removed.
STEPS = 10 + 12


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def loader():
    install()


def die_at(step, monkeypatch):
    """Let the process be killed before it takes its `step`-th step on the disk, from 1."""
    left = [step]

    def dying(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] <= 0:
                raise Killed
            return function(*args, **kwargs)

        return call

    for name in ('fsync', 'replace', 'remove'):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    return left


def names(folder, pattern='*.pth'):
    return sorted(path.name for path in Path(folder).glob(pattern))


def assert_whole(folder):
    """The pointer names a whole checkpoint, which names a whole best one."""
    last = find_latest_checkpoint(str(folder))
    info = load_weights_only(last)['message_hub']['runtime_info']
    if 'best_ckpt' in info:
        assert load_weights_only(info['best_ckpt'])['state_dict']
    return info


def assert_finished(folder, epochs):
    info = assert_whole(folder)
    assert names(folder, 'epoch_*') == [f'epoch_{epochs}.pth']
    assert Path(info['best_ckpt']).name == f'best_toy_score_epoch_{epochs}.pth'
    assert not names(folder, '.*.partial')


def test_an_undisturbed_training_keeps_one_last_and_one_best(tmp_path, monkeypatch):
    left = die_at(STEPS + 1, monkeypatch)
    toy_runner(tmp_path, hook=ATOMIC_HOOK, epochs=2).train()
    assert left == [1]
    assert names(tmp_path) == ['best_toy_score_epoch_2.pth', 'epoch_2.pth']
    assert_finished(tmp_path, 2)


@pytest.mark.parametrize('step', range(1, STEPS + 1))
def test_a_kill_at_any_step_leaves_a_whole_checkpoint_to_resume(step, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        die_at(step, patch)
        with pytest.raises(Killed):
            toy_runner(tmp_path, hook=ATOMIC_HOOK, epochs=2).train()
    if step > 4:  # the first checkpoint and its pointer are complete
        assert_whole(tmp_path)
    else:
        assert not (tmp_path / 'last_checkpoint').exists()
    toy_runner(tmp_path, hook=ATOMIC_HOOK, epochs=3, resume=True).train()
    assert_finished(tmp_path, 3)


def test_as_many_checkpoints_are_kept_as_asked_for(tmp_path):
    toy_runner(tmp_path, hook=ATOMIC_HOOK | dict(max_keep_ckpts=3), epochs=4).train()
    assert names(tmp_path, 'epoch_*') == ['epoch_2.pth', 'epoch_3.pth', 'epoch_4.pth']


def test_without_a_limit_all_checkpoints_are_kept(tmp_path):
    hook = dict(type='reloclnet_mm.AtomicCheckpointHook', interval=1)
    toy_runner(tmp_path, hook=hook, epochs=3).train()
    assert names(tmp_path) == ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']


def test_checkpoints_by_iteration_and_in_another_folder(tmp_path):
    hook = ATOMIC_HOOK | dict(by_epoch=False, interval=2, out_dir=str(tmp_path / 'out'))
    toy_runner(tmp_path / 'run', hook=hook, epochs=3).train()
    best = 'best_toy_score_iter_6.pth'
    assert names(tmp_path / 'out/run') == [best, 'iter_6.pth']
    assert_whole(tmp_path / 'run')


def test_best_checkpoints_of_two_metrics_are_replaced_each(tmp_path):
    hook = ATOMIC_HOOK | dict(save_best=['toy/score', 'toy/loss'], rule=['greater', 'less'])
    toy_runner(tmp_path, hook=hook, epochs=3).train()
    expected = ['best_toy_loss_epoch_1.pth', 'best_toy_score_epoch_3.pth', 'epoch_3.pth']
    assert names(tmp_path) == expected


def test_leftovers_of_an_interrupted_write_are_cleared(tmp_path):
    (tmp_path / '.epoch_7.pth.0123abcd.partial').touch()
    toy_runner(tmp_path, hook=ATOMIC_HOOK, epochs=1).train()
    assert names(tmp_path, '.*.partial') == []


def test_an_outdated_best_outside_of_the_folder_is_not_removed(tmp_path):
    elsewhere = tmp_path / 'precious.pth'
    elsewhere.write_text('kept')
    runner = toy_runner(tmp_path / 'run', hook=ATOMIC_HOOK, epochs=1)
    runner.message_hub.update_info('best_ckpt', str(elsewhere))
    runner.message_hub.update_info('best_score', -1.0)
    runner.train()
    assert elsewhere.read_text() == 'kept'
    assert names(tmp_path / 'run') == ['best_toy_score_epoch_1.pth', 'epoch_1.pth']


def test_steps_that_are_no_numbers_are_refused(tmp_path):
    victim = tmp_path / 'victim.pth'
    victim.touch()
    hook = ATOMIC_HOOK | dict(filename_tmpl='{}.pth')
    runner = toy_runner(tmp_path / 'run', hook=hook, epochs=1)
    runner.message_hub.update_info('keep_ckpt_ids', ['../victim', 1])
    with pytest.raises(InputError, match='the steps kept'):
        runner.train()
    assert victim.exists()


def test_an_unknown_setting_is_named():
    with pytest.raises(InputError, match=r"unknown settings \['intervall'\]"):
        AtomicCheckpointHook(intervall=1)


@pytest.mark.slow
def test_a_training_killed_five_times_while_saving_goes_on_and_finishes(tmp_path):
    program = [sys.executable, toy_training.__file__, str(tmp_path)]
    for kill in range(5):
        process = subprocess.Popen([*program, '1000'], stderr=subprocess.DEVNULL)
        wait_for_partial(tmp_path, process, sightings=4 + 7 * kill)
        time.sleep(0.003 * kill)
        process.send_signal(signal.SIGKILL)
        process.wait()
        epochs = assert_whole(tmp_path)['epoch'] + 1
        assert len(names(tmp_path, 'epoch_*')) <= 2
    subprocess.run([*program, str(epochs + 2)], check=True, stdout=subprocess.DEVNULL)
    assert_finished(tmp_path, epochs + 2)


def wait_for_partial(folder, process, sightings):
    """Return when the `sightings`-th file is being written."""
    seen = set()
    while len(seen) < sightings:
        assert process.poll() is None
        seen.update(names(folder, '.*.partial'))
        time.sleep(0.0002)
