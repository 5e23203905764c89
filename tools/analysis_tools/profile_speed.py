"""Measure evaluation, a query, a second stage, training, loading and own videos.

Each beside the plain way, or what bounds it.
"""

import argparse
import platform
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from reloclnet_mm.profiling import evaluation, loading, own_videos, reranking, training
from reloclnet_mm.profiling.harness import Subject, Timing, machine_rates, measure
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import write_json

CONFIGS = Path(__file__).parents[2] / 'configs'
CONFIG = CONFIGS / 'relocl_tvr.py'
Record = dict[str, Any]


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)

    def command(name: str, run: Callable, text: str, trials: int = 3) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        added.add_argument('--out', type=Path, help='write the measurements to this JSON file')
        added.add_argument('--threads', type=int, help="torch's threads; default: torch's choice")
        added.add_argument(
            '--trials', type=int, default=trials, help=f'runs that count, of each ({trials})'
        )
        return added

    evaluate = command('evaluation', run_evaluation, 'VR, SVMR and VCMR of all queries')
    add_sizes(evaluate, queries=10895, videos=2179)
    evaluate.add_argument(
        '--plain-queries', type=int, default=50, help='queries ranked the straightforward way (50)'
    )
    query = command('query', run_query, 'one query at a time over a resident corpus', trials=300)
    add_sizes(query, queries=1000, videos=2179)
    growth = command('growth', run_growth, 'evaluation of 1, 2, 4 and 8 times as many videos')
    add_sizes(growth, queries=512, videos=1000)
    growth.add_argument('--plot', type=Path, help='draw seconds and memory into this file')

    rerank = command('second_stage', run_second_stage, 'the videos of one query', trials=15)
    rerank.add_argument('--config', type=Path, default=CONFIGS / 'conquer_tvr.py')
    rerank.add_argument('--reranked', type=int, default=10, help='videos of a query (10)')
    rerank.add_argument('--videos', type=int, default=100, help='videos of the corpus (100)')
    rerank.add_argument('--mean-clips', type=int, default=50)

    train = command('training', run_training, 'a training step')
    train.add_argument('--config', type=Path, default=CONFIG, help='whose model and optimizer')
    train.add_argument('--batch-size', type=int, default=128)
    train.add_argument('--mean-clips', type=int, default=50)
    train.add_argument('--amp', action='store_true', help='ours in bfloat16')
    train.add_argument('--device', default='cpu', help='cpu or cuda')

    load = command('loading', run_loading, 'a batch of clips from h5 and packed stores', trials=9)
    load.add_argument('--videos', type=int, default=512)
    load.add_argument('--channels', type=int, default=3072)
    load.add_argument('--batch-size', type=int, default=128)
    load.add_argument('--workers', type=int, default=2)

    own = command('own_videos', run_own_videos, 'indexing of own videos, and a query over them')
    own.add_argument('--hours', type=int, default=1000, help='of the index that is searched (1000)')
    own.add_argument('--queries', type=int, default=100, help='queries that are timed (100)')
    own.add_argument('--image-encoder', help='measure frames with this encoder too')
    return parser.parse_args()


def add_sizes(parser: argparse.ArgumentParser, *, queries: int, videos: int) -> None:
    """Options of what is ranked, with these defaults."""
    for name, default, text in (
        ('queries', queries, 'queries'),
        ('videos', videos, 'videos of the corpus'),
        ('mean-clips', 50, 'mean clips of a video'),
        ('max-clips', 128, 'clips of a video at most'),
        ('width', 384, 'width of the encodings'),
    ):
        parser.add_argument(f'--{name}', type=int, default=default, help=f'{text} ({default})')


def sizes_of(args: argparse.Namespace) -> evaluation.Sizes:
    """What the command line says of corpus and queries."""
    return evaluation.Sizes(args.queries, args.videos, args.mean_clips, args.max_clips, args.width)


def run_evaluation(args: argparse.Namespace) -> Record:
    """All queries, ours beside the straightforward way over some of them."""
    sizes = sizes_of(args)
    timings = measure(
        evaluation.subjects(sizes, args.plain_queries),
        trials=args.trials,
        threads=args.threads,
    )
    ours, products, plain = timings
    same, difference = evaluation.same_lists(ours.result, plain.result)
    ours_each, plain_each = ours.median / sizes.queries, plain.median / args.plain_queries
    print_timings(timings, [sizes.queries, sizes.queries, args.plain_queries])
    over_products = ours.median / products.median
    print(f'{over_products:.2f} times the two score products alone')
    print(
        f'{plain_each / ours_each:.0f} times as fast a query; '
        f'lists of {args.plain_queries} queries {"identical" if same else "DIFFERENT"}, '
        f'scores within {difference:.1e} of the largest'
    )
    return dict(
        timings=[timing.as_record() for timing in timings],
        seconds_for_all=dict(ours=ours.median, straightforward=plain_each * sizes.queries),
        speed_up=plain_each / ours_each,
        over_products=over_products,
        identical=same,
        score_difference=difference,
        rate=report_rate(evaluation.evaluation_gflop(sizes), ours.median, args.threads),
    )


def run_query(args: argparse.Namespace) -> Record:
    """One query at a time."""
    sizes = sizes_of(args)
    subjects = [Subject('ours', evaluation.ours_one_by_one, dict(sizes=sizes))]
    (ours,) = measure(subjects, trials=args.trials, warm_ups=20, threads=args.threads)
    subjects = [Subject('straightforward', evaluation.plain, dict(sizes=sizes, answered=1))]
    (plain,) = measure(subjects, trials=5, threads=args.threads)
    percentiles = {
        timing.name: {f'p{p}': timing.percentile(p) for p in (50, 90, 99)}
        for timing in (ours, plain)
    }
    rows = [
        [name, *(f'{1e3 * seconds:.2f}' for seconds in values.values())]
        for name, values in percentiles.items()
    ]
    print(tabulate(rows, headers=['ms a query', 'p50', 'p90', 'p99'], disable_numparse=True))
    return dict(timings=[timing.as_record() for timing in (ours, plain)], percentiles_s=percentiles)


def run_growth(args: argparse.Namespace) -> Record:
    """Evaluation over corpora that double."""
    sizes = sizes_of(args)
    factors = (1, 2, 4, 8)
    subjects = [
        Subject(
            f'{factor * sizes.videos} videos',
            evaluation.ours,
            dict(
                sizes=replace(sizes, videos=factor * sizes.videos),
                answered=1,
            ),
        )
        for factor in factors
    ]
    timings = measure(subjects, trials=args.trials, threads=args.threads)
    print_timings(timings, [sizes.queries] * len(timings))
    if args.plot:
        draw_growth(args.plot, [factor * sizes.videos for factor in factors], timings)
        print(f'plot: {args.plot}')
    return dict(timings=[timing.as_record() for timing in timings])


def draw_growth(path: Path, videos: list[int], timings: list[Timing]) -> None:
    """Seconds and memory against the size of the corpus, with what linear growth would be."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout='constrained')
    for axis, label, values in (
        (axes[0], 'seconds', [timing.median for timing in timings]),
        (axes[1], 'peak memory of the process, MB', [timing.peak_rss_mb for timing in timings]),
    ):
        axis.plot(videos, values, 'o-', label='measured')
        axis.plot(videos, [values[0] * n / videos[0] for n in videos], ':', label='linear')
        axis.set(xlabel='videos', ylabel=label, xticks=videos, ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def run_second_stage(args: argparse.Namespace) -> Record:
    """A second stage over the videos of one query."""
    # Each run asks another query, the same one of all subjects.
    sizes = reranking.Sizes(args.trials + 1, args.videos, args.reranked, args.mean_clips)
    timings = measure(
        reranking.subjects(args.config, sizes), trials=args.trials, threads=args.threads
    )
    print_timings(timings, [1] * len(timings))
    ours, *others = timings
    times = {other.name: other.median / ours.median for other in others}
    difference = max(reranking.largest_difference(x.result, ours.result) for x in others)
    for name, ratio in times.items():
        print(f'{name}: {ratio:.2f} times ours')
    print(f'scores within {difference:.1e} of the largest')
    return dict(
        timings=[timing.as_record() for timing in timings],
        times_ours=times,
        score_difference=difference,
    )


def run_training(args: argparse.Namespace) -> Record:
    """A training step."""
    timings = measure(
        training.subjects(
            args.config, args.batch_size, args.mean_clips, bfloat16=args.amp, device=args.device
        ),
        trials=args.trials,
        threads=args.threads,
    )
    print_timings(timings, [1] * len(timings), unit='step')
    ours, padded, *products = timings
    print(f'{padded.median / ours.median:.1f} times as fast as the padded step')
    record = dict(
        timings=[timing.as_record() for timing in timings], speed_up=padded.median / ours.median
    )
    if products:
        (alone,) = products
        record['over_products'] = ours.median / alone.median
        print(f'{record["over_products"]:.2f} times the products alone')
        gflop = training.products_of_step(args.config, args.batch_size, args.mean_clips).gflop
        record['rate'] = report_rate(gflop, ours.median, args.threads)
    return record


def run_loading(args: argparse.Namespace) -> Record:
    """A batch of clips from files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = loading.write_files(Path(folder), args.videos, args.channels)
        timings = measure(
            loading.subjects(paths, args.channels, args.videos, args.batch_size, args.workers),
            trials=args.trials,
            threads=args.threads,
        )
    print_timings(timings, [1] * len(timings), unit='batch')
    return dict(timings=[timing.as_record() for timing in timings])


def run_own_videos(args: argparse.Namespace) -> Record:
    """Indexing by how much faster it is than the videos last, and a query over many hours."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = own_videos.write_talks(Path(folder))
        subjects = own_videos.subjects(Path(folder), args.image_encoder)
        timings = measure(subjects, trials=args.trials, threads=args.threads)
    rates = {timing.name: seconds[timing.result] / timing.median for timing in timings}
    print_timings(timings, [1] * len(timings), unit='run')
    for name, rate in rates.items():
        print(f'{name}: {rate:.0f} times real time')
    with tempfile.TemporaryDirectory() as folder:
        own_videos.write_long_index(Path(folder) / 'index', args.hours)
        (query,) = measure(
            [Subject('query', own_videos.query, dict(folder=f'{folder}/index'))],
            trials=args.queries,
            warm_ups=5,
            threads=args.threads,
        )
    percentiles = {f'p{p}': query.percentile(p) for p in (50, 90, 99)}
    shown = ', '.join(f'{name} {1e3 * x:.1f} ms' for name, x in percentiles.items())
    print(
        f'a query over {args.hours} hours, its encoding included: {shown}; '
        f'{query.peak_rss_mb:.0f} MB'
    )
    return dict(
        timings=[timing.as_record() for timing in (*timings, query)],
        times_real_time=rates,
        percentiles_s=percentiles,
    )


def print_timings(timings: list[Timing], counts: list[int], unit: str = 'query') -> None:
    """A table of medians and spread."""
    rows = [
        [
            timing.name,
            f'{timing.median:.3f}',
            f'{min(timing.seconds):.3f} to {max(timing.seconds):.3f}',
            f'{1e3 * timing.median / count:.2f}',
            f'{timing.peak_rss_mb:.0f}',
        ]
        for timing, count in zip(timings, counts, strict=True)
    ]
    headers = ['', 'median s', 'spread', f'ms a {unit}', 'peak MB']
    print(tabulate(rows, headers=headers, disable_numparse=True))


def report_rate(gflop: float, seconds: float, threads: int | None) -> Record:
    """Print and return the rate that was reached, beside the machine's own rates."""
    machine = machine_rates(threads)
    rate = gflop / seconds
    products = ' and '.join(f'{x:.0f} in {name}' for name, x in machine.gflop_per_s.items())
    print(
        f'{gflop:.0f} GFLOP of products, {rate:.0f} GFLOP/s, '
        f'{rate / machine.gflop_per_s["float32"]:.2f} of the rate of float32 products; '
        f'this machine multiplies matrices at {products}, and copies memory at '
        f'{machine.copied_gb_per_s:.1f} GB/s'
    )
    return dict(gflop=gflop, gflop_per_s=rate, machine=vars(machine))


def main() -> None:
    """Run a sub-command."""
    args = parse_args()
    with input_errors_end_the_program():
        record = args.run(args)
        if args.out:
            settings = {
                name: str(x) if isinstance(x, Path) else x
                for name, x in vars(args).items()
                if name != 'run'
            }
            about = dict(torch=torch.__version__, machine=platform.machine(), settings=settings)
            write_json(args.out, about | record, indent=1)


if __name__ == '__main__':
    main()
