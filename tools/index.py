"""Index videos, so that tools/search.py and tools/serve.py find moments in them.

What is said comes from subtitles beside a video (talk.srt, talk.vtt, talk.en.srt), else from its
speech.
Videos that are in the index and have not changed are passed over, so that a run which was stopped
goes on, and new videos are added, by the same command.
"""

import argparse
import sys
import time
from pathlib import Path

from reloclnet_mm.apis import MomentInferencer
from reloclnet_mm.errors import InputError
from reloclnet_mm.indexing.adding import AddReport
from reloclnet_mm.utils.cli import input_errors_end_the_program


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
        '--save-every', type=float, default=60.0, help='seconds (default: %(default)s)'
    )
    args = parser.parse_args(argv)
    if not (args.videos or args.update or args.remove):
        parser.error('nothing to do: give videos, --update or --remove')
    return args


def open_index(args: argparse.Namespace) -> MomentInferencer:
    """Open the index, or begin one."""
    if (args.out / 'index.json').exists():
        return MomentInferencer.from_index(args.out, args.model, args.weights, args.device)
    if args.update or args.remove:
        raise InputError(f'{args.out}: holds no index; give videos to make one')
    return MomentInferencer(args.model, args.weights, args.device)


def tell(report: AddReport) -> None:
    """Print what became of the files."""
    for path, reason in report.failed.items():
        print(f'left out: {reason if path in reason else f"{path}: {reason}"}', file=sys.stderr)
    counts = {name: len(x) for name, x in vars(report).items()}
    print(', '.join(f'{count} {name}' for name, count in counts.items()))


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        begin = time.perf_counter()
        inferencer = open_index(args)
        if args.remove:
            inferencer.remove(args.remove)
            inferencer.save(args.out)
        if args.update:
            tell(inferencer.update())
            inferencer.save(args.out)
        if args.videos:
            tell(inferencer.add(args.videos, save_to=args.out, save_every=args.save_every))
        hours = sum(video.duration for video in inferencer.videos) / 3600
        print(
            f'{args.out}: {len(inferencer.videos)} videos, {hours:.2f} hours, in '
            f'{time.perf_counter() - begin:.1f} s'
        )
        if not inferencer.videos:
            raise InputError(f'{args.out}: no video could be used')


if __name__ == '__main__':
    main()
