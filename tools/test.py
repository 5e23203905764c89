"""Test a checkpoint with a config."""

import argparse
import os
import os.path as osp

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from reloclnet_mm.utils.cli import input_errors_end_the_program


def parse_args() -> argparse.Namespace:
    """The command line, as mmaction2's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder for logs')
    parser.add_argument('--dump', help='write predictions and truth to this .pkl file')
    parser.add_argument(
        '--submission', help="write the ranked lists to this .json file, in TVR's format"
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings that override the config: key=value, key="[a,b]", key.nested=value',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Put what the command line says into the config."""
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    cfg.load_from = args.checkpoint
    extra = []
    if args.dump is not None:
        extra.append(dict(type='DumpResults', out_file_path=args.dump))
    if args.submission is not None:
        extra.append(dict(type='TVRSubmission', out_file=args.submission))
    evaluators = cfg.test_evaluator
    cfg.test_evaluator = (evaluators if isinstance(evaluators, list) else [evaluators]) + extra
    return cfg


def main() -> None:
    """Build the runner and test."""
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    with input_errors_end_the_program():
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        runner.test()


if __name__ == '__main__':
    main()
