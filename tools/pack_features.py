"""Pack the features of an h5 file into one memory-mapped array, or check such a store."""

import argparse
from collections.abc import Iterator

import numpy as np

from reloclnet_mm.features.h5 import FeatureFile
from reloclnet_mm.features.packed import PackedFeatures, open_features, verify_packed
from reloclnet_mm.features.packed_writer import PackingSummary, write_packed
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import writing
from reloclnet_mm.utils.progress import progress


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        usage='%(prog)s IN.h5 OUT.pack [--dtype DTYPE] [--overwrite]\n'
        '       %(prog)s --verify STORE',
    )
    parser.add_argument('source', nargs='?', metavar='IN.h5', help='h5 file, or another store')
    parser.add_argument('target', nargs='?', metavar='OUT.pack', help='folder to write')
    parser.add_argument(
        '--dtype',
        choices=('float32', 'float16'),
        default='float32',
        help='of the store; float16 rounds (default: %(default)s)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace the store OUT.pack')
    parser.add_argument('--verify', metavar='STORE', help='compare a store with its checksums')
    args = parser.parse_args(argv)
    if (args.target is None) == (args.verify is None) or (args.verify and args.source):
        parser.error('give IN.h5 and OUT.pack, or --verify STORE')
    return args


def pack(source: str, target: str, dtype: str, overwrite: bool) -> None:
    """Pack all keys of a file, and say what was packed."""
    features = open_features(source)
    summary = write_packed(target, read_with_progress(features), dtype, overwrite)
    print(f'{target}: {describe(target)}')
    print(describe_rounding(summary))


def read_with_progress(features: FeatureFile | PackedFeatures) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each key with its (rows, channels) float32 array, and show how many are done."""
    for key in progress(features.keys(), 'keys'):
        yield key, features.read(key)


def describe(path: str) -> str:
    """Sizes of a store."""
    store = PackedFeatures(path)
    rows = store.rows
    return (
        f'{len(store.keys()):,} keys, {len(rows):,} rows of {rows.shape[1]:,} {rows.dtype}, '
        f'{rows.nbytes / 1e6:,.1f} MB'
    )


def describe_rounding(summary: PackingSummary) -> str:
    """What the store's dtype has cost."""
    values = f'largest value {summary.largest_value:g}'
    if summary.largest_error == 0:
        return f'{values}; nothing was rounded'
    return f'{values}; largest rounding error {summary.largest_error:g} ({summary.error_at})'


def verify(path: str) -> None:
    """Compare a store with its checksums, and say what it holds."""
    verify_packed(path)
    print(f'{path}: as it was packed: {describe(path)}')


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        if args.verify:
            verify(args.verify)
            return
        with writing(args.target):
            pack(args.source, args.target, args.dtype, args.overwrite)


if __name__ == '__main__':
    main()
