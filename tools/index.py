"""Index videos, so that tools/search.py and tools/serve.py find moments in them.

What is said comes from subtitles beside a video (talk.srt, talk.vtt, talk.en.srt), else from its
speech.
Videos that are in the index and have not changed are passed over, so that a run which was stopped
goes on, and new videos are added, by the same command.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reloclnet_mm.apis import MomentInferencer
from reloclnet_mm.errors import InputError
from reloclnet_mm.indexing.adding import AddReport
from reloclnet_mm.indexing.records import VideoRecord
from reloclnet_mm.indexing.store import CLUSTER_FILE, locked
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import read_text

if TYPE_CHECKING:
    from reloclnet_mm.cluster.building import JobRunner


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('videos', nargs='*', metavar='VIDEO', help='files and folders')
    parser.add_argument('--out', required=True, type=Path, help='folder of the index')
    parser.add_argument(
        '--model',
        default='relocl_speech',
        help='name of a model that comes with the package, or a config (default: %(default)s)',
    )
    parser.add_argument('--weights', help='weights of another model')
    parser.add_argument('--device', help='of model and extractors (default: a GPU if there is one)')
    parser.add_argument(
        '--update', action='store_true', help='look at all files of the index for changes'
    )
    parser.add_argument('--remove', nargs='+', default=[], metavar='NAME', help='remove videos')
    parser.add_argument(
        '--lists',
        action='store_true',
        help='search by inverted lists of faiss, for an index of 100,000 windows and more',
    )
    parser.add_argument(
        '--target-recall',
        type=float,
        default=0.99,
        metavar='R',
        help='part of the best windows that lists must find (default: %(default)s)',
    )
    parser.add_argument(
        '--queries',
        type=Path,
        metavar='FILE',
        help='sentences, one a line, by which that is measured (default: some that come along)',
    )
    parser.add_argument(
        '--float16', action='store_true', help='keep encoded windows in half of the bytes'
    )
    parser.add_argument(
        '--ray',
        metavar='ADDRESS',
        help='divide the index into shards and index them on the nodes of Ray: auto, HOST:PORT, or '
        'local, this computer only',
    )
    parser.add_argument('--shards', type=int, help='shards of the index (default: one a node)')
    parser.add_argument(
        '--cpus-per-shard',
        type=float,
        default=1.0,
        metavar='N',
        help='cores that a shard is counted as while it is indexed on Ray (default: %(default)s)',
    )
    parser.add_argument(
        '--save-every', type=float, default=60.0, help='seconds (default: %(default)s)'
    )
    args = parser.parse_args(argv)
    if not (args.videos or args.update or args.remove or args.lists):
        parser.error('nothing to do: give videos, --update, --remove or --lists')
    if not 0 < args.target_recall <= 1:
        parser.error(f'--target-recall {args.target_recall}, expected more than 0 and up to 1')
    if args.ray is not None and (args.lists or args.float16):
        parser.error('--lists and --float16 are of an index in one folder, not of one on Ray')
    if args.shards is not None and args.ray is None:
        parser.error('--shards is for an index on Ray; say --ray ADDRESS, too')
    return args


def open_index(args: argparse.Namespace) -> MomentInferencer:
    """Open the index, or begin one."""
    if (args.out / 'index.json').exists():
        return MomentInferencer.from_index(args.out, args.model, args.weights, args.device)
    if not args.videos:
        raise InputError(f'{args.out}: holds no index; give videos to make one')
    return MomentInferencer(args.model, args.weights, args.device)


def tell(report: AddReport) -> None:
    """Print what became of the files."""
    for path, reason in report.failed.items():
        print(f'left out: {reason if path in reason else f"{path}: {reason}"}', file=sys.stderr)
    counts = {name: len(x) for name, x in vars(report).items()}
    print(', '.join(f'{count} {name}' for name, count in counts.items()))


def change_index(args: argparse.Namespace) -> Sequence[VideoRecord]:
    """Change the index in a single folder, and return its videos."""
    inferencer = open_index(args)
    if args.float16:
        inferencer.store_float16()
    if args.remove:
        inferencer.remove(args.remove)
        inferencer.save(args.out)
    if args.update:
        tell(inferencer.update())
        inferencer.save(args.out)
    if args.videos:
        tell(inferencer.add(args.videos, save_to=args.out, save_every=args.save_every))
    if args.lists:
        build_lists(inferencer, args)
    return inferencer.videos


def build_lists(inferencer: MomentInferencer, args: argparse.Namespace) -> None:
    """Build inverted lists and tell what they find."""
    queries = None
    if args.queries is not None:
        queries = [line.strip() for line in read_text(args.queries).splitlines() if line.strip()]
    tuned = inferencer.build_lists(target_recall=args.target_recall, queries=queries)
    print(
        f'lists find {tuned.recall:.1%} of the best {tuned.num_videos} windows of '
        f'{tuned.num_queries} queries'
    )


def change_shards(args: argparse.Namespace) -> Sequence[VideoRecord]:
    """Change the index in shards, on Ray or in this process, and return its videos."""
    from reloclnet_mm.cluster import building
    from reloclnet_mm.cluster.folder import ClusterFolder
    from reloclnet_mm.cluster.jobs import ModelSource

    if args.lists or args.float16:
        raise InputError(f'{args.out}: is an index in shards, without --lists and --float16')
    if args.ray is None and args.videos:
        raise InputError(f'{args.out}: is an index in shards; say --ray ADDRESS to add videos')
    if not args.videos and not ClusterFolder.is_at(args.out):
        raise InputError(f'{args.out}: holds no index in shards; give videos to make one')
    source = ModelSource.of(args.model, args.weights, args.device)
    with locked(args.out), job_runner(args) as (run, num_nodes):
        if args.videos:
            cluster = building.begin(args.out, source, args.shards, default=num_nodes)
        else:
            cluster = ClusterFolder.load(args.out)
        if args.remove:
            building.remove(cluster, args.remove, source, run)
        if args.update:
            tell(building.update(cluster, source, run))
        if args.videos:
            save_every = args.save_every
            tell(building.add(cluster, args.videos, source, run, save_every=save_every))
    return [video for videos in cluster.records().values() for video in videos]


@contextmanager
def job_runner(args: argparse.Namespace) -> Iterator[tuple['JobRunner', int]]:
    """Yield what runs the jobs of shards, and on how many nodes."""
    if args.ray is None:
        from reloclnet_mm.cluster.building import run_here

        yield run_here, 1
        return
    from reloclnet_mm.cluster.ray_session import Resources, ray_session

    with ray_session(args.ray):
        from reloclnet_mm.cluster.ray_jobs import run_on_ray

        resources = Resources.on(args.device, args.cpus_per_shard, 1.0)
        yield partial(run_on_ray, resources=resources), len(resources.nodes())


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        begin = time.perf_counter()
        in_shards = args.ray is not None or (args.out / CLUSTER_FILE).exists()
        videos = change_shards(args) if in_shards else change_index(args)
        hours = sum(video.duration for video in videos) / 3600
        print(
            f'{args.out}: {len(videos)} videos, {hours:.2f} hours, in '
            f'{time.perf_counter() - begin:.1f} s'
        )
        if not videos:
            raise InputError(f'{args.out}: no video could be used')


if __name__ == '__main__':
    main()
