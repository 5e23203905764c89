"""Gather features of clips or of queries into the h5 file of a stream.

A source is a folder with a file a video or query (.npy, .npz, or .csv as mmaction2's features for
BMN), or an h5 file (one array or one group for each video or query). Several sources are put side
by side: a row has the columns of all. A run that was stopped continues where it was when started
again with the same arguments.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.annotations import read_video_durations
from reloclnet_mm.features.foreign import FolderSource, H5Source, open_source
from reloclnet_mm.features.reading import Setting
from reloclnet_mm.features.rows import normalize_rows, resample_rows
from reloclnet_mm.features.writer import FeatureWriter, source_setting
from reloclnet_mm.registry import TASK_UTILS
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.progress import progress

MAX_DIFFERENCE = 2
"""Clips by which the sources of a stream may differ in length; all are cut to the shortest."""

BYTES_PER_PART = 32e6

Sources = Mapping[Path, H5Source | FolderSource]


def shared_names(sources: Sources, prefix: str) -> dict[str, str]:
    """Return the keys that all sources have, by their names in the file; report the others.

    Args:
        sources: Sources by path.
        prefix: What is removed from the beginning of a key.

    Raises:
        InputError: There is no such key, or two get the same name.
    """
    keys = {path: source.keys() for path, source in sources.items()}
    shared = set.intersection(*map(set, keys.values()))
    for path, found in keys.items():
        others = [key for key in found if key not in shared]
        if others:
            print(f'{path}: {len(others)} keys, such as {others[0]}, are not in all: left out')
    names = {key.removeprefix(prefix): key for key in next(iter(keys.values())) if key in shared}
    if not names:
        raise InputError(f'{", ".join(map(str, keys))}: no key is in all of them')
    if len(names) < len(shared):
        raise InputError(f'--remove-prefix {prefix}: makes the names of two keys the same')
    return names


def only_listed(names: dict[str, str], durations: Mapping[str, float]) -> dict[str, str]:
    """Return the names that the list of videos has, and report the others.

    Raises:
        InputError: It has none of them.
    """
    listed = {name: key for name, key in names.items() if name in durations}
    print(
        f'{len(names) - len(listed)} names are not in the list of videos: left out; '
        f'{len(durations) - len(listed)} videos of the list have no features'
    )
    if not listed:
        raise InputError(
            f'the list of videos has no name of the features, such as {next(iter(names))}; '
            f'expected names such as {next(iter(durations))}. See --remove-prefix'
        )
    return listed


def read_side_by_side(
    sources: Sources, key: str, max_difference: int, normalize: bool
) -> tuple[np.ndarray, bool]:
    """Return the rows (rows, width) of a key, of all sources side by side, and whether any was cut.

    Args:
        sources: Sources by path.
        key: Key in each.
        max_difference: Rows by which they may differ in length.
        normalize: Divide each row of each source by its L2 norm.

    Raises:
        InputError: They differ in length by more than ``max_difference`` rows.
    """
    arrays = {path: source.read(key) for path, source in sources.items()}
    lengths = {str(path): len(rows) for path, rows in arrays.items()}
    shortest, longest = min(lengths.values()), max(lengths.values())
    if longest - shortest > max_difference:
        raise InputError(
            f'key {key!r}: found {lengths} rows, expected lengths that differ by {max_difference} '
            'at most; extract all with the same clip length'
        )
    cut = [rows[:shortest] for rows in arrays.values()]
    cut = [normalize_rows(rows) for rows in cut] if normalize else cut
    return np.concatenate(cut, 1), shortest < longest


def write_all(names: Sequence[str], read: Callable[[str], np.ndarray], out: FeatureWriter) -> None:
    """Write the features of the names that ``out`` lacks, some megabytes at a time.

    Args:
        names: Names in the file.
        read: Returns (rows, width) of a name.
        out: Where to write.
    """
    part: dict[str, np.ndarray] = {}
    for name in progress(out.missing(names), 'keys'):
        part[name] = read(name)
        if sum(rows.nbytes for rows in part.values()) >= BYTES_PER_PART:
            out.write(part)
            part = {}
    if part:
        out.write(part)
    out.finish()


def settings_of(args: argparse.Namespace) -> dict[str, Setting]:
    """Return what the features of a video depend on; a run with other settings adds none.

    The list of videos is not among it: each video is resampled by its own duration, and a second
    list, that of another split, adds its videos.
    """
    settings: dict[str, Setting] = {'sources': source_setting(args.sources, args.out)}
    settings |= {'array': args.array} if args.array else {}
    settings |= {'removed_prefix': args.remove_prefix} if args.remove_prefix else {}
    settings |= {'normalized': 'each source'} if args.normalize else {}
    settings |= {'clip_length': args.clip_length} if args.clip_length else {}
    settings |= {'resampled': 'by duration', 'reader': args.reader} if args.resample else {}
    return settings


def convert(args: argparse.Namespace) -> None:
    """Read, join, write, report."""
    sources = {path: open_source(path, args.array) for path in args.sources}
    names = shared_names(sources, args.remove_prefix)
    durations = {}
    if args.resample:
        durations = read_video_durations(args.resample, args.reader)
        names = only_listed(names, durations)
    allowed = 0 if args.queries else MAX_DIFFERENCE
    first, _ = read_side_by_side(sources, next(iter(names.values())), allowed, args.normalize)
    width = first.shape[1]
    num_cut = 0

    def read(name: str) -> np.ndarray:
        nonlocal num_cut
        rows, was_cut = read_side_by_side(sources, names[name], allowed, args.normalize)
        num_cut += was_cut
        if rows.shape[1] != width:
            raise InputError(
                f'key {names[name]!r}: found rows {rows.shape[1]} wide, expected {width} as of '
                f'{next(iter(names.values()))!r}; extract all with the same program'
            )
        return resample_rows(rows, durations[name], args.clip_length) if durations else rows

    out = FeatureWriter(args.out, settings_of(args) | {'width': width}, args.dtype)
    already = len(names) - len(out.missing(names))
    print(f'{len(names)} keys, {already} of them in {args.out} already; rows {width} wide')
    write_all(list(names), read, out)
    if num_cut:
        print(f'{num_cut} keys differed in length between the sources: cut to the shortest')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('sources', nargs='+', type=Path, metavar='SOURCE', help='folder or h5 file')
    parser.add_argument('--out', required=True, type=Path, help='the h5 file to write')
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument('--clip-length', type=float, metavar='S', help='a row is a clip of S seconds')
    kind.add_argument(
        '--even', action='store_true', help='the rows of a video divide its duration evenly'
    )
    kind.add_argument('--queries', action='store_true', help='a row is a token of a query')
    parser.add_argument(
        '--array', metavar='NAME', help='which array of each .npz file or each group to take'
    )
    parser.add_argument(
        '--remove-prefix',
        default='',
        metavar='TEXT',
        help='remove it from the keys, such as qid of qid123.npz',
    )
    parser.add_argument(
        '--normalize', action='store_true', help='divide each row of each source by its L2 norm'
    )
    parser.add_argument(
        '--resample',
        type=Path,
        metavar='VIDEO_INDEX',
        help='average rows that divide the duration of a video evenly into clips of --clip-length '
        'seconds; durations are read from this file, and videos that it does not list are left out',
    )
    parser.add_argument(
        '--reader',
        choices=sorted(TASK_UTILS.module_dict),
        default='TVRReader',
        help='type of the reader of VIDEO_INDEX (default: %(default)s)',
    )
    parser.add_argument(
        '--dtype',
        choices=['float32', 'float16'],
        default='float32',
        help='of the file (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    if args.clip_length is not None and not 0 < args.clip_length < math.inf:
        parser.error(f'--clip-length {args.clip_length}, expected positive seconds')
    if args.resample and args.clip_length is None:
        parser.error('--resample needs --clip-length')
    return args


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        convert(args)


if __name__ == '__main__':
    main()
