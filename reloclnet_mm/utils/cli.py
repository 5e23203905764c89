"""What the command-line tools share."""

import argparse
import os
import os.path as osp
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.config_checks import (
    building_errors_are_input_errors,
    check_options,
    check_settings,
    check_variables,
)


@contextmanager
def input_errors_end_the_program() -> Iterator[None]:
    """Turn an :class:`~reloclnet_mm.errors.InputError` into one message and exit status 1.

    A data-loading worker hands its error over with a traceback as text; only the message is kept.
    Ctrl-C ends the program without a traceback and with status 130, as a shell expects.
    """
    try:
        yield
    except InputError as error:
        sys.exit('error: ' + str(error).rsplit('InputError: ', 1)[-1].strip())
    except KeyboardInterrupt:
        print('stopped by the user', file=sys.stderr)
        sys.exit(130)


def run_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of what every mm tool that runs a config accepts."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings that override the config: key=value, key="[a,b]", key.nested=value',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser


def read_config(args: argparse.Namespace) -> Config:
    """Read a config and put into it what :func:`run_parser` accepts.

    Raises:
        InputError: There is no such file, it is no config, or a setting reaches nothing.
    """
    if not osp.isfile(args.config):
        raise InputError(f'{args.config}: no such file; expected a config, such as relocl_tvr.py')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = Config.fromfile(args.config)
    except (SyntaxError, OSError) as error:
        raise InputError(f'{args.config}: {error}; correct the file') from error
    check_variables(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        check_options(cfg, args.cfg_options)
        try:
            cfg.merge_from_dict(args.cfg_options)
        except (KeyError, TypeError) as error:
            raise InputError(f'--cfg-options: {error.args[0]}; correct the key') from error
    check_settings(cfg)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config names, or mmengine's own if it names none.

    Raises:
        InputError: A constructor does not accept its settings.
    """
    with building_errors_are_input_errors(cfg):
        return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def run_with(cfg: Config, method: Literal['train', 'test']) -> Runner:
    """Build the runner, then train or test, which builds the data sets and loops.

    Returns:
        The runner, when all is done.

    Raises:
        InputError: A setting or a file cannot be used, there is nothing to train, or a model with
            weights is to be tested without a checkpoint.
    """
    if method == 'train' and cfg.get('train_cfg') is None:
        raise InputError(
            f'{cfg.filename}: has no train_cfg, so there is nothing to train; evaluate the model '
            'with tools/test.py, or name a schedule of configs/_base_/schedules in the config'
        )
    runner = build_runner(cfg)
    has_weights = any(True for _ in runner.model.parameters())
    if method == 'train' and not has_weights:
        raise InputError(
            f'{cfg.filename}: {cfg.model.type} has no weights to train; evaluate it with '
            'tools/test.py'
        )
    if method == 'test' and has_weights and not cfg.get('load_from'):
        raise InputError(
            f'{cfg.filename}: {cfg.model.type} has weights and there is no checkpoint of them; '
            'give one: tools/test.py CONFIG CHECKPOINT'
        )
    with building_errors_are_input_errors(cfg):
        getattr(runner, method)()
    return runner
