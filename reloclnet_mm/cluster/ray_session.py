"""The connection to Ray."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reloclnet_mm.errors import InputError

# Ray tells its makers how it is used unless this is set before it starts.
os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
try:
    import ray
except ImportError as e:
    raise InputError(
        'an index on several computers needs Ray; run: pip install "reloclnet_mm[cluster]"'
    ) from e


@contextmanager
def ray_session(address: str) -> Iterator[None]:
    """Connect to Ray for as long as the block runs; what it has started ends with it.

    A connection that the program has already is used and left as it is.

    Args:
        address: ``auto``, the Ray that runs on this computer; ``HOST:PORT``, that of another one;
            ``local``: start one for this process, on this computer only.

    Raises:
        InputError: There is no Ray at the address.
    """
    if ray.is_initialized():
        yield
        return
    # What workers print goes to files of Ray, not between the lines of the program.
    settings: dict[str, Any] = dict(log_to_driver=False, logging_level='error')
    if address == 'local':
        settings |= dict(address='local', include_dashboard=False)
    else:
        settings |= dict(address=address)
    try:
        ray.init(**settings)
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
        (reason, *_) = (*str(error).splitlines(), type(error).__name__)
        raise InputError(
            f'--ray {address}: cannot connect ({reason}); start Ray on this '
            'computer with "ray start --head" or "ray start --address HOST:PORT", or say --ray '
            'local'
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Resources:
    """What a process on the cluster is counted as, where Ray decides what fits a node.

    Attributes:
        num_cpus: Cores, or a part of one.
        num_gpus: GPUs, or a part of one.
    """

    num_cpus: float
    num_gpus: float = 0.0

    @staticmethod
    def on(device: str | None, num_cpus: float, num_gpus: float) -> 'Resources':
        """Ask for GPUs where the device is one, and for none elsewhere."""
        uses_gpu = device is not None and device.startswith('cuda')
        return Resources(num_cpus, num_gpus if uses_gpu else 0.0)

    def fits(self, node: dict[str, Any]) -> bool:
        """Tell whether a node, as ``ray.nodes()`` lists it, is there and large enough."""
        has = node['Resources']
        enough = has.get('CPU', 0) >= self.num_cpus and has.get('GPU', 0) >= self.num_gpus
        return bool(node['Alive'] and enough)

    def nodes(self) -> list[str]:
        """List the ids of the nodes that are there and large enough.

        Raises:
            InputError: There is none, so that Ray would wait for one forever.
        """
        found = [node['NodeID'] for node in ray.nodes() if self.fits(node)]
        if not found:
            raise InputError(
                f'Ray has no node with {self.num_cpus:g} CPUs and {self.num_gpus:g} GPUs, which a '
                'shard asks for; add a node, or ask for less'
            )
        return found
