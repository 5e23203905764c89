"""Serve an index of own videos as a page: a search box, the moments found, the videos themselves.

The page is for this computer only, unless --host says otherwise. There is no log-in: who reaches
the address can watch every video of the index.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reloclnet_mm.utils.cli import input_errors_end_the_program

if TYPE_CHECKING:
    from reloclnet_mm.apis.query_inferencer import QueryInferencer


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('index', help='index that tools/index.py wrote')
    parser.add_argument('--host', default='127.0.0.1', help='address to serve at (%(default)s)')
    parser.add_argument(
        '--port', type=int, default=8000, help='port, 0: any that is free (%(default)s)'
    )
    parser.add_argument('--model', help='config of a model that does not come with the package')
    parser.add_argument('--weights', help='its weights')
    parser.add_argument('--device', help='(default: a GPU if there is one)')
    parser.add_argument(
        '--ray', metavar='ADDRESS', help='serve an index in shards on Ray: auto, HOST:PORT or local'
    )
    parser.add_argument(
        '--replicas', type=int, default=1, help='processes for each shard on Ray (%(default)s)'
    )
    parser.add_argument(
        '--shard-timeout',
        type=float,
        default=10.0,
        metavar='SECONDS',
        help='when a shard that does not answer is left out (%(default)s)',
    )
    parser.add_argument(
        '--cpus-per-shard',
        type=float,
        default=0.1,
        metavar='N',
        help='cores that a process on Ray is counted as (%(default)s)',
    )
    parser.add_argument(
        '--max-query-characters',
        type=int,
        default=1000,
        help='longest query that is answered (%(default)s)',
    )
    parser.add_argument(
        '--requests-per-minute',
        type=int,
        default=120,
        help='searches that one client may send (%(default)s)',
    )
    args = parser.parse_args(argv)
    if not 0 <= args.port < 65536:
        parser.error(f'--port {args.port}: expected 0 to 65535')
    return args


@contextmanager
def opened_index(args: argparse.Namespace) -> Iterator['QueryInferencer']:
    """Open the index, in this process or on Ray, where its nodes are looked after."""
    if args.ray is None:
        from reloclnet_mm.apis import MomentInferencer

        yield MomentInferencer.from_index(args.index, args.model, args.weights, args.device)
        return
    from reloclnet_mm.cluster.opening import opened_cluster

    with (
        opened_cluster(
            args.ray,
            args.index,
            args.model,
            args.weights,
            args.device,
            replicas=args.replicas,
            timeout=args.shard_timeout,
            num_cpus=args.cpus_per_shard,
        ) as inferencer,
        inferencer.watching(),
    ):
        yield inferencer


def main(argv: list[str] | None = None) -> None:
    """Load the index, print the address and answer until stopped."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        # Needs FastAPI and uvicorn, and says so.
        from reloclnet_mm.serving.app import LOOPBACK_HOSTS, create_app
        from reloclnet_mm.serving.server import address_of, is_loopback, listen, make_server

        # A port that is taken is told before the model is loaded.
        with listen(args.host, args.port) as listener, opened_index(args) as inferencer:
            local = is_loopback(listener)
            # The first query makes a large index ready, which may take seconds.
            inferencer('the first query')
            app = create_app(
                inferencer,
                max_characters=args.max_query_characters,
                requests_per_minute=args.requests_per_minute,
                allowed_hosts=(*LOOPBACK_HOSTS, args.host) if local else ('*',),
            )
            if not local:
                print(
                    f'warning: --host {args.host} lets everyone who reaches this computer watch '
                    'every video of the index; there is no log-in',
                    file=sys.stderr,
                )
            print(f'{args.index} is served at {address_of(listener)} (Ctrl-C to stop)', flush=True)
            make_server(app).run(sockets=[listener])


if __name__ == '__main__':
    main()
