"""Compare models on the same corpus and queries: recalls beside costs, in one report.

A row is CONFIG.py:CHECKPOINT, CONFIG.py for a model without weights, or a JSON file of predictions
in TVR's submission format. A pattern of checkpoints, quoted, is one row with the seeds of an
experiment. NAME= in front names a row. Evaluations that are finished are kept in DIR/rows and not
made again.
"""

import argparse
import shlex
import sys
from pathlib import Path

from reloclnet_mm.benchmarking.entries import parse_rows
from reloclnet_mm.utils.cli import input_errors_end_the_program


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'rows',
        nargs='+',
        metavar='ROW',
        help="[NAME=]CONFIG.py[:CHECKPOINT or ':seed_*/epoch_4.pth'][ --cfg-options KEY=VALUE …] "
        'or [NAME=]PREDICTIONS.json',
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='folder of the report'
    )
    parser.add_argument('--threads', type=int, help="torch's threads (default: torch's choice)")
    parser.add_argument(
        '--differ',
        nargs=2,
        metavar='NAME',
        help='two rows whose most different queries are shown (default: the two best)',
    )
    args = parser.parse_args(argv)
    if args.threads is not None and args.threads < 1:
        parser.error(f'--threads {args.threads}: expected at least 1')
    return args


def main(argv: list[str] | None = None) -> None:
    """Evaluate the rows and write the report."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        # Needs matplotlib, and says so.
        from reloclnet_mm.benchmarking.run import run_benchmark

        try:
            written = run_benchmark(
                parse_rows(args.rows),
                args.out,
                threads=args.threads,
                differ=args.differ and tuple(args.differ),
                command=shlex.join([sys.argv[0], *(sys.argv[1:] if argv is None else argv)]),
            )
        except KeyboardInterrupt:
            print(f'finished rows are kept in {args.out / "rows"}: the same command goes on')
            raise
        print('\n'.join(map(str, written)))


if __name__ == '__main__':
    main()
