"""Pack the features of an h5 file into a store that is faster to read, or check such a store."""

import argparse
import math

from reloclnet_mm.features import PackedFeatures, open_features
from reloclnet_mm.features.checks import DTYPES
from reloclnet_mm.features.packed_writer import write_packed
from reloclnet_mm.utils.cli import input_errors_end_the_program
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
        choices=list(DTYPES),
        default='float32',
        help='type of the stored values; float16 rounds them (default: %(default)s)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace the store OUT.pack')
    parser.add_argument('--verify', metavar='STORE', help='compare a store with its checksums')
    args = parser.parse_args(argv)
    if (args.target is None) == (args.verify is None) or (args.verify and args.source):
        parser.error('give IN.h5 and OUT.pack, or --verify STORE')
    return args


def pack(source: str, target: str, dtype: str, overwrite: bool) -> None:
    """Pack all keys of a file, and print what was packed."""
    file = open_features(source)
    features = ((key, file.read(key)) for key in progress(file.keys(), 'keys'))
    summary = write_packed(target, features, dtype, overwrite, file.attributes)
    rounding = 'nothing was rounded'
    if summary.error_at:
        rounding = f'largest rounding error {summary.largest_error:g} ({summary.error_at})'
    print(f'{target}: {describe(PackedFeatures(target))}')
    print(f'largest value {summary.largest_value:g}; {rounding}')


def describe(store: PackedFeatures) -> str:
    """Return the sizes of a store."""
    megabytes = math.prod(store.shape) * store.dtype.itemsize / 1e6
    return (
        f'{len(store.keys()):,} keys, {store.shape[0]:,} rows of {store.shape[1]:,} {store.dtype}, '
        f'{megabytes:,.1f} MB'
    )


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        if args.verify:
            store = PackedFeatures(args.verify)
            store.verify()
            print(f'{args.verify}: as it was packed: {describe(store)}')
        else:
            pack(args.source, args.target, args.dtype, args.overwrite)


if __name__ == '__main__':
    main()
