"""Find moments in an index from sentences, as a table, as JSON and as a page."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reloclnet_mm.apis import MomentInferencer
from reloclnet_mm.apis.query_inferencer import QueryInferencer
from reloclnet_mm.indexing.hits import Hits
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.times import clock


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('index', type=Path, help='folder that tools/index.py wrote')
    parser.add_argument('queries', nargs='+', metavar='QUERY', help='sentences')
    parser.add_argument('--top-k', type=int, default=5, help='moments (default: %(default)s)')
    parser.add_argument('--videos', nargs='+', metavar='NAME', help='search these videos only')
    parser.add_argument('--model', help='config of a model that does not come with the package')
    parser.add_argument('--weights', help='its weights')
    parser.add_argument('--device', help='(default: a GPU if there is one)')
    parser.add_argument(
        '--ray',
        metavar='ADDRESS',
        help='search an index in shards on Ray: auto, HOST:PORT or local',
    )
    parser.add_argument('--json', action='store_true', help='print JSON in the place of tables')
    parser.add_argument(
        '--page', type=Path, metavar='FILE.html', help='write the answers as a page'
    )
    parser.add_argument('--pictures', type=Path, metavar='FOLDER', help='draw a picture each')
    args = parser.parse_args(argv)
    if args.top_k < 1:
        parser.error(f'--top-k {args.top_k}, expected at least 1')
    return args


def table_of(hits: Hits) -> Table:
    """Make the table of a query."""
    table = Table(title=hits.query, title_justify='left', expand=False)
    for name, style in (
        ('video', 'bold'),
        ('from', ''),
        ('to', ''),
        ('score', ''),
        ('said', 'dim'),
    ):
        table.add_column(
            name, style=style, justify='left' if name in ('video', 'said') else 'right'
        )
    for hit in hits:
        times = clock(hit.start, 1), clock(hit.end, 1)
        said = hit.text if len(hit.text) <= 160 else hit.text[:159] + '…'
        table.add_row(hit.video, *times, f'{100 * hit.score:.0f} %', said)
    return table


def print_tables(answers: list[Hits], seconds: float) -> None:
    """Print a table a query."""
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 120)
    for hits in answers:
        console.print(table_of(hits))
        for note in hits.notes():
            console.print(note)
    console.print(f'{1000 * seconds / len(answers):.0f} ms a query')


@contextmanager
def opened_index(args: argparse.Namespace) -> Iterator[QueryInferencer]:
    """Open the index, in this process or on Ray."""
    if args.ray is None:
        yield MomentInferencer.from_index(
            args.index, args.model, args.weights, args.device, show_progress=False
        )
        return
    from reloclnet_mm.cluster.opening import opened_cluster

    with opened_cluster(args.ray, args.index, args.model, args.weights, args.device) as inferencer:
        yield inferencer


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    with input_errors_end_the_program(), opened_index(args) as inferencer:
        begin = time.perf_counter()
        answers = inferencer(args.queries, args.top_k, videos=args.videos)
        seconds = time.perf_counter() - begin
        if args.json:
            rows = [
                dict(
                    query=x.query,
                    null_rate=x.null_rate,
                    missing=x.missing,
                    hits=list(map(asdict, x)),
                )
                for x in answers
            ]
            print(json.dumps(rows, indent=1, ensure_ascii=False))
        else:
            print_tables(answers, seconds)
        if args.page:
            from reloclnet_mm.serving.answer_page import write_answer_page

            write_answer_page(answers, args.page)
            print(f'page: {args.page}', file=sys.stderr)
        if args.pictures:
            for path in inferencer.visualize(args.queries, answers, out_dir=args.pictures):
                print(f'picture: {path}', file=sys.stderr)


if __name__ == '__main__':
    main()
