"""Train a model from a config."""

import argparse

from mmengine.config import Config

from reloclnet_mm.utils.cli import (
    input_errors_end_the_program,
    read_config,
    run_parser,
    run_with,
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line, which is as mmaction2's."""
    parser = run_parser(__doc__)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint; without a value, from the last one in the work dir',
    )
    parser.add_argument('--amp', action='store_true', help='compute in bfloat16, on a CPU or a GPU')
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size'
    )
    parser.add_argument('--seed', type=int, help='random seed')
    parser.add_argument('--diff-rank-seed', action='store_true', help='a seed for each process')
    parser.add_argument('--deterministic', action='store_true', help='deterministic algorithms')
    return parser.parse_args(argv)


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Put what the command line says of training into the config."""
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.save_best = None
        hooks = cfg.get('custom_hooks', [])
        cfg.custom_hooks = [hook for hook in hooks if hook['type'] != 'EarlyStoppingHook']
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.amp:
        cfg.optim_wrapper.type = 'reloclnet_mm.Bfloat16OptimWrapper'
    if args.auto_scale_lr:
        cfg.setdefault('auto_scale_lr', {})['enable'] = True
    randomness = dict(seed=None) | cfg.get('randomness', {})
    if args.seed is not None:
        randomness['seed'] = args.seed
    if args.diff_rank_seed:
        randomness['diff_rank_seed'] = True
    if args.deterministic:
        randomness['deterministic'] = True
    cfg.randomness = randomness
    return cfg


def main(argv: list[str] | None = None) -> None:
    """Build the runner and train."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        run_with(merge_args(read_config(args), args), 'train')


if __name__ == '__main__':
    main()
