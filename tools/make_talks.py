"""Write short talks as videos, with queries whose moments are known.

The talks come with the package. Without ``--speech`` their sentences are subtitles beside the
videos; with it they are spoken by espeak-ng, and there are no subtitles. ``truth.jsonl`` has the
queries and their moments in the layout of TVR, ``unrelated.txt`` queries that none of the talks
answers. A run goes on where the last one stopped.
"""

import argparse
import time
from pathlib import Path

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.talks import (
    TRUTH_FILE,
    Talk,
    is_complete,
    read_talks,
    read_truth,
    write_talk,
)
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import write_text
from reloclnet_mm.utils.progress import progress


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('out_dir', type=Path, help='folder to write')
    parser.add_argument(
        '--speech', action='store_true', help='spoken by espeak-ng, instead of subtitles'
    )
    parser.add_argument('--count', type=int, default=20, help='only the first talks (default: 20)')
    return parser.parse_args(argv)


def choose(talks: list[Talk], count: int) -> list[Talk]:
    """Return the first talks.

    Raises:
        InputError: There are not as many, or none is asked for.
    """
    if not 1 <= count <= len(talks):
        raise InputError(f'--count is {count}, expected 1 to {len(talks)}: choose another')
    return talks[:count]


def summary(talks: list[Talk], folder: Path) -> str:
    """Describe the talks in a folder: minutes, queries, bytes."""
    names = {talk.name for talk in talks}
    lines = [line for line in read_truth(folder) if line.vid_name in names]
    seconds = sum({line.vid_name: line.duration for line in lines}.values())
    files = [path for path in folder.iterdir() if path.stem in names]
    size = sum(path.stat().st_size for path in files)
    return (
        f'{folder}: {len(talks)} talks of {seconds / 60:.1f} minutes together, {size / 1e6:.1f} '
        f'MB; {len(lines)} queries in {folder / TRUTH_FILE}'
    )


def main(argv: list[str] | None = None) -> None:
    """Write the talks that the command line asks for."""
    args = parse_args(argv)
    begin = time.perf_counter()
    with input_errors_end_the_program():
        collection = read_talks()
        talks = choose(collection.talks, args.count)
        missing = [talk for talk in talks if not is_complete(talk, args.out_dir, args.speech)]
        for talk in progress(missing, 'talks'):
            write_talk(talk, args.out_dir, args.speech)
        write_text(args.out_dir / 'unrelated.txt', '\n'.join(collection.unrelated) + '\n')
        print(
            f'wrote {len(missing)} talks in {time.perf_counter() - begin:.1f} s, '
            f'{len(talks) - len(missing)} were there'
        )
        print(summary(talks, args.out_dir))


if __name__ == '__main__':
    main()
