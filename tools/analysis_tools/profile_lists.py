"""Measure the search by inverted lists over generated corpora of any size.

`source` encodes real descriptions, `draw` makes a corpus that lies as they do, `build` puts it into
lists, `measure` asks queries of the first parts of it, and `plot` draws how time and bytes grow.
"""

import argparse
import json
from pathlib import Path

from tabulate import tabulate

from reloclnet_mm.profiling import large_corpora
from reloclnet_mm.profiling.drawn_corpora import CorpusSource
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import read_text, replace_file, write_json


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    source = commands.add_parser('source', help='encode real descriptions')
    source.add_argument('annotations', nargs='+', type=Path, help='val_1.json val_2.json')
    source.add_argument('--videos', type=int, default=3000, help='(%(default)s)')
    source.add_argument('--out', type=Path, required=True, help='file of the encodings')
    draw = commands.add_parser('draw', help='make a corpus')
    draw.add_argument('source', type=Path, help='file that `source` wrote')
    draw.add_argument('--videos', type=int, default=250_000, help='(%(default)s)')
    draw.add_argument('--parts', type=int, default=16, help='(%(default)s)')
    draw.add_argument('--out', type=Path, required=True, help='folder of the corpus')
    build = commands.add_parser('build', help='build its lists')
    build.add_argument('corpus', type=Path)
    measure = commands.add_parser('measure', help='ask queries')
    measure.add_argument('corpus', type=Path)
    measure.add_argument('source', type=Path, help='file that `source` wrote')
    measure.add_argument('--parts', type=int, nargs='+', default=[2, 4, 8, 16])
    measure.add_argument('--target-recall', type=float, default=0.99)
    measure.add_argument('--out', type=Path, required=True, help='JSON file of the measurements')
    plot = commands.add_parser('plot', help='draw measurements')
    plot.add_argument('measured', type=Path, help='file that `measure` wrote')
    plot.add_argument('--out', type=Path, required=True, help='picture')
    return parser.parse_args(argv)


def run_measure(args: argparse.Namespace) -> None:
    """Measure some sizes, print them and keep them."""
    source, rows = CorpusSource.load(args.source), []
    for count in args.parts:
        rows.append(large_corpora.measure(args.corpus, source, count, args.target_recall))
        write_json(args.out, rows, indent=1)
        print(tabulate(rows[-1].items()), flush=True)


def draw_growth(rows: list[dict], path: Path) -> None:
    """Draw time and bytes of each size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout='constrained')
    times, sizes = figure.subplots(1, 2)
    videos = [row['videos'] for row in rows]
    for name, text in (('video_ms', 'best videos'), ('moment_ms', 'and their moments')):
        times.plot(videos, [row[name]['p50'] for row in rows], 'o-', label=f'{text}, median')
    times.plot(
        videos, [row['moment_ms']['p90'] for row in rows], 'o:', label='the same, 90th percentile'
    )
    times.set(ylabel='ms a query', ylim=(0, None))
    for name, text in (('row_gb', 'encoded clips'), ('list_gb', 'inverted lists')):
        sizes.plot(videos, [row[name] for row in rows], 'o-', label=text)
    sizes.set(ylabel='GB on disk', yscale='log')
    for axes in (times, sizes):
        axes.set(xlabel='videos', xscale='log')
        axes.set_xticks(videos, [f'{count:,}' for count in videos])
        axes.minorticks_off()
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=130, format=path.suffix[1:])


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        if args.command == 'source':
            large_corpora.encode_source(args.annotations, args.videos).save(args.out)
        elif args.command == 'draw':
            source = CorpusSource.load(args.source)
            large_corpora.draw_parts(source, args.out, args.videos, args.parts)
        elif args.command == 'build':
            print(tabulate(large_corpora.build_lists(args.corpus).items()))
        elif args.command == 'measure':
            run_measure(args)
        else:
            draw_growth(json.loads(read_text(args.measured)), args.out)


if __name__ == '__main__':
    main()
