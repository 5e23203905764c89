"""What the command-line tools share."""

import argparse
import os
import os.path as osp
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from reloclnet_mm.errors import InputError


@contextmanager
def input_errors_end_the_program() -> Iterator[None]:
    """Turn an :class:`~reloclnet_mm.errors.InputError` into one message and exit status 1.

    A data-loading worker hands its error over with a traceback as text; only the message is kept.
    Ctrl-C ends the program with status 130, as a shell expects, and without a traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        print('stopped by the user', file=sys.stderr)
        sys.exit(130)
    except InputError as e:
        sys.exit('error: ' + str(e).rsplit('InputError: ', 1)[-1].strip())


def run_parser(description: str) -> argparse.ArgumentParser:
    """A parser with what every mm tool that runs a config accepts."""
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
    """The config with what :func:`run_parser` accepts put into it.

    Raises:
        InputError: There is no such file.
    """
    if not osp.isfile(args.config):
        raise InputError(f'{args.config}: no such file; expected a config, such as relocl_tvr.py')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    return cfg


def build_runner(cfg: Config) -> Runner:
    """The runner that the config names, mmengine's own if none.

    Raises:
        InputError: A class was given a setting that it does not have.
    """
    with unknown_settings_are_input_errors(cfg):
        return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def run_with(cfg: Config, method: Literal['train', 'test']) -> None:
    """Build the runner and train or test; what is built late is checked like what is built first.

    Raises:
        InputError: Something of the input cannot be used.
    """
    runner = build_runner(cfg)
    with unknown_settings_are_input_errors(cfg):
        getattr(runner, method)()


@contextmanager
def unknown_settings_are_input_errors(cfg: Config) -> Iterator[None]:
    """Turn what Python says of a keyword that a constructor lacks into an error of the config."""
    try:
        yield
    except TypeError as e:
        if 'class `' in str(e) and re.search('unexpected keyword|takes no arguments', str(e)):
            raise InputError(
                f'{cfg.filename}: {e}; expected only settings that the class has. '
                'Correct the name of the key or remove it'
            ) from e
        raise
