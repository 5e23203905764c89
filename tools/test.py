"""Test a checkpoint with a config, or a model that has no weights."""

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
        'checkpoint', nargs='?', help='checkpoint file; none for a model without weights'
    )
    parser.add_argument('--dump', help='write predictions and truth to this .pkl file')
    parser.add_argument(
        '--submission', help="write the ranked lists to this .json file, in TVR's format"
    )
    return parser.parse_args(argv)


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Put what the command line says of the test into the config."""
    cfg.load_from = args.checkpoint or cfg.get('load_from')
    extra = []
    if args.dump is not None:
        extra.append(dict(type='DumpResults', out_file_path=args.dump))
    if args.submission is not None:
        extra.append(dict(type='reloclnet_mm.TVRSubmission', out_file=args.submission))
    evaluators = cfg.get('test_evaluator') or []
    cfg.test_evaluator = (evaluators if isinstance(evaluators, list) else [evaluators]) + extra
    return cfg


def main(argv: list[str] | None = None) -> None:
    """Build the runner and test."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        run_with(merge_args(read_config(args), args), 'test')


if __name__ == '__main__':
    main()
