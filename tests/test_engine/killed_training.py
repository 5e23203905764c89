"""Runs tools/train.py again and again with --resume, killing it, until it is through.

A program of its own: it forks, which a process that has computed in threads must not. Children
start with everything imported. One argument, JSON: `config`; `work_dirs`, one for each training;
`kills`, a list of (events to wait for, seconds to wait from then on). Prints, as JSON, the exits of
the children of each work dir.
"""

import importlib.util
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from unittest import mock

# Registers a transform, and imports beforehand what a training needs.
import interrupted  # noqa: F401
from mmengine.runner import Runner

REPOSITORY = Path(__file__).parents[2]
DEADLINE = 300


def train_main():
    spec = importlib.util.spec_from_file_location('train', REPOSITORY / 'tools/train.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def announce_events(count, pipe):
    """Write to `pipe` at the `count`-th call of a hook or step on the disk."""
    left = [count]

    def announcing(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.write(pipe, b'.')
            return function(*args, **kwargs)

        return call

    Runner.call_hook = announcing(Runner.call_hook)
    for name in ('fsync', 'replace', 'remove'):
        setattr(os, name, announcing(getattr(os, name)))


def start(main, config, work_dir, events):
    """Fork a training; returns its process id and a pipe that hears of the event."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    os.setsid()
    log = os.open(f'{work_dir}.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        announce_events(events, writing)
        sys.argv = ['train.py', config, '--work-dir', work_dir, '--resume']
        main()
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(main, config, work_dir, kill):
    """A training, killed with its workers after `kill` unless it is through before."""
    events, delay = kill
    process, pipe = start(main, config, work_dir, events)
    # At the end of the process the pipe can be read too, and is empty.
    heard = select.select([pipe], [], [], DEADLINE)[0] and os.read(pipe, 1)
    if heard:
        time.sleep(delay)
        os.killpg(process, signal.SIGKILL)
    os.close(pipe)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def run_all(config, work_dirs, kills):
    main, kills = train_main(), iter(kills)
    exits = {}
    for work_dir in work_dirs:
        exits[work_dir] = []
        while not exits[work_dir] or exits[work_dir][-1] == -signal.SIGKILL:
            exits[work_dir].append(run(main, config, work_dir, next(kills, (-1, 0))))
    return exits


if __name__ == '__main__':
    # Formatting a config takes a second, and a checkpoint holds one.
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, False)):
        print(json.dumps(run_all(**json.loads(sys.argv[1]))))
