"""Put the page of an index under load: searches of several clients at once for some minutes.

Starts tools/serve.py at a free port of this computer, and tells how many searches failed, how long
they took, and how the memory of the server grew. Exit status 1 if a search failed.
"""

import argparse
import sys
from pathlib import Path

from tabulate import tabulate

from reloclnet_mm.errors import InputError
from reloclnet_mm.indexing.null_queries import null_queries
from reloclnet_mm.profiling.load import LoadReport, put_under_load, serving
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import read_text

SERVE = Path(__file__).parents[1] / 'serve.py'
# More than any client can send.
REQUESTS_PER_MINUTE = 10**9
SHOWN_FAILURES = 5


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('index', type=Path, help='folder that tools/index.py wrote')
    parser.add_argument('--clients', type=int, default=4, help='at once (default: %(default)s)')
    parser.add_argument('--minutes', type=float, default=10.0, help='(default: %(default)s)')
    parser.add_argument(
        '--warm-up',
        type=float,
        default=10.0,
        help='seconds of searches before, which do not count (default: %(default)s)',
    )
    parser.add_argument(
        '--queries',
        type=Path,
        help='text file of queries, a line each (default: 240 sentences about many things)',
    )
    parser.add_argument('--model', help='config of a model that does not come with the package')
    parser.add_argument('--weights', help='its weights')
    parser.add_argument('--device', help='(default: a GPU if there is one)')
    args = parser.parse_args(argv)
    if args.clients < 1 or args.minutes <= 0 or args.warm_up <= 0:
        parser.error('--clients must be at least 1, --minutes and --warm-up above 0')
    return args


def read_queries(path: Path | None) -> list[str]:
    """Read the queries, or return those about many things."""
    if path is None:
        return [*null_queries()]
    found = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not found:
        raise InputError(f'{path}: holds no query, expected one a line')
    return found


def command_of(args: argparse.Namespace) -> list[str]:
    """Return the command that serves the index."""
    command = [sys.executable, str(SERVE), str(args.index), '--port', '0']
    command += ['--requests-per-minute', str(REQUESTS_PER_MINUTE)]
    for name in ('model', 'weights', 'device'):
        if getattr(args, name) is not None:
            command += [f'--{name}', getattr(args, name)]
    return command


def table_of(report: LoadReport) -> str:
    """Make the table of what was measured."""
    begin, middle, end = (report.memory[i] for i in (0, len(report.memory) // 2, -1))
    count = len(report.answers)
    rows = [
        ['requests', f'{count + len(report.failures)}'],
        ['failed', f'{len(report.failures)}'],
        ['requests a second', f'{count / report.seconds:.1f}'],
        *([f'p{p}, ms', f'{1e3 * report.percentile(p):.1f}'] for p in (50, 90, 99)),
        ['of that searching, p50, ms', f'{1e3 * report.percentile(50, "searching"):.1f}'],
        ['memory after the warm-up, MB', f'{begin:.1f}'],
        ['memory in the middle, MB', f'{middle:.1f}'],
        ['memory in the end, MB', f'{end:.1f}'],
        ['growth, MB', f'{end - begin:+.1f}'],
    ]
    return tabulate(rows, disable_numparse=True, colalign=('left', 'right'))


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        queries = read_queries(args.queries)
        with serving(command_of(args)) as server:
            settings = dict(queries=queries, clients=args.clients)
            before = put_under_load(server, **settings, seconds=args.warm_up)
            report = put_under_load(server, **settings, seconds=60 * args.minutes)
    print(f'{args.clients} clients, {report.seconds:.0f} s after {args.warm_up:g} s of warm-up')
    print(table_of(report))
    failures = (*before.failures, *report.failures)
    if failures:
        shown = '\n'.join(failures[:SHOWN_FAILURES])
        sys.exit(f'error: {len(failures)} searches failed, of the warm-up too:\n{shown}')


if __name__ == '__main__':
    main()
