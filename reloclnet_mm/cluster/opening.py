"""Opening an index in shards for as long as a program needs it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

# The first one, for it says what to install where there is no Ray.
from reloclnet_mm.cluster.ray_session import ray_session  # isort: split

from reloclnet_mm.cluster.cluster_inferencer import ClusterInferencer
from reloclnet_mm.cluster.folder import ClusterFolder


@contextmanager
def opened_cluster(
    address: str,
    folder: str | os.PathLike,
    model: str | Path | Config | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    *,
    replicas: int = 1,
    timeout: float = 10.0,
    num_cpus: float = 0.1,
) -> Iterator[ClusterInferencer]:
    """Connect to Ray and open an index; its processes end with the block.

    Args:
        address: As for :func:`ray_session`.
        folder: As for :class:`ClusterInferencer`, as are all others.
        model: As there.
        weights: As there.
        device: As there.
        replicas: As there.
        timeout: As there.
        num_cpus: As there.

    Raises:
        InputError: There is no Ray at the address, or the index cannot be used.
    """
    # A folder that is none is told before Ray is started.
    ClusterFolder.load(folder)
    with ray_session(address):
        inferencer = ClusterInferencer(
            folder,
            model,
            weights,
            device,
            replicas=replicas,
            timeout=timeout,
            num_cpus=num_cpus,
        )
        try:
            yield inferencer
        finally:
            inferencer.close()
