"""Write an index of own videos into a Qdrant collection, and try a search in it.

A window of a video is a point of the collection; docs/qdrant.md says what a point holds.
"""

import argparse
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from reloclnet_mm.apis import MomentInferencer
from reloclnet_mm.errors import InputError
from reloclnet_mm.indexing.searched import owners_of
from reloclnet_mm.indexing.store import VideoIndex
from reloclnet_mm.structures import EncodedCorpus
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.times import clock

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('index', type=Path, help='folder that tools/index.py wrote')
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument('--path', type=Path, help='folder of the local mode, without a server')
    place.add_argument('--url', help='address of a server, such as http://localhost:6333')
    parser.add_argument('--collection', required=True, help='name of the collection')
    parser.add_argument(
        '--quantize',
        metavar='HOW',
        help='int8, binary or product, for a new collection; a server keeps float32 beside it',
    )
    parser.add_argument(
        '--update',
        action='store_true',
        help='let a collection that has videos hold those of this index and no others',
    )
    parser.add_argument('--query', metavar='SENTENCE', help='search the collection afterwards')
    parser.add_argument(
        '--search-only', action='store_true', help='write nothing; the collection is there'
    )
    parser.add_argument('--top-k', type=int, default=5, help='windows (default: %(default)s)')
    parser.add_argument('--model', help='config of a model that does not come with the package')
    parser.add_argument('--weights', help='its weights')
    args = parser.parse_args(argv)
    if args.search_only and args.query is None:
        parser.error('--search-only: give a --query')
    if args.top_k < 1:
        parser.error(f'--top-k {args.top_k}, expected at least 1')
    return args


def export(args: argparse.Namespace, client: 'QdrantClient', index: VideoIndex) -> None:
    """Write the windows of an index into the collection."""
    from reloclnet_mm.retrieval.qdrant_search import write_corpus

    begin, corpus = time.perf_counter(), windows_of(index)
    write_corpus(
        client,
        args.collection,
        corpus,
        quantization=args.quantize,
        payload={
            window: dict(path=record.path, start=start)
            for window, (record, start) in owners_of(index.videos.values()).items()
        },
        update=args.update,
    )
    print(
        f'{args.collection}: {len(corpus)} windows of {len(index.videos)} videos in '
        f'{time.perf_counter() - begin:.1f} s'
    )


def search(args: argparse.Namespace, client: 'QdrantClient', index: VideoIndex) -> None:
    """Print the best windows of the collection for the query."""
    from reloclnet_mm.retrieval.qdrant_search import QdrantVideoSearch

    windows = windows_of(index).video_ids
    found = QdrantVideoSearch(client, args.collection, windows)
    inferencer = MomentInferencer.from_index(
        args.index, args.model, args.weights, 'cpu', show_progress=False
    )
    queries = inferencer.encode_queries([args.query])
    begin = time.perf_counter()
    scores, places = (x[0] for x in found.search(queries, args.top_k))
    seconds, owners = time.perf_counter() - begin, owners_of(index.videos.values())
    rows = []
    for window, score in zip(windows[places].tolist(), scores.tolist(), strict=True):
        record, start = owners[window]
        rows.append([record.name, clock(start), f'{score:.4f}'])
    print(tabulate(rows, ['video', 'window from', 'score'], disable_numparse=True))
    print(f'{1000 * seconds:.0f} ms')


def windows_of(index: VideoIndex) -> EncodedCorpus:
    """Return the windows by which videos are ranked: of two stages those of the first one."""
    corpus = index.corpus()
    if corpus is None:
        raise InputError(f'{index.folder}: holds no video; add some with tools/index.py')
    return getattr(corpus, 'first', corpus)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        # Needs the client, and says so.
        from reloclnet_mm.retrieval.qdrant_search import open_qdrant

        index = VideoIndex.load(args.index)
        with closing(open_qdrant(args.path, args.url)) as client:
            if not args.search_only:
                export(args, client, index)
            if args.query is not None:
                search(args, client, index)


if __name__ == '__main__':
    main()
