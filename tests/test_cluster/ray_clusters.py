"""A head and worker nodes of Ray on this computer, and who runs on them."""

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path

MEGABYTE = 2**20
NODE = dict(num_cpus=1, object_store_memory=80 * MEGABYTE, include_dashboard=False)


@contextmanager
def ray_cluster(num_nodes):
    """A head without cores for work and nodes with one each; the program is connected to it."""
    # Imported late, for where there is no Ray these tests are skipped.
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, 'num_cpus': 0})
    try:
        for _ in range(num_nodes):
            cluster.add_node(wait=False, **NODE)
        cluster.wait_for_nodes(timeout=180)
        ray.init(address=cluster.address, log_to_driver=False, logging_level='error')
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def workers_named(cluster, name):
    """Ids of the processes that run a task or an actor of this name on the cluster's nodes."""
    raylets = {
        process.process.pid
        for node in (cluster.head_node, *cluster.worker_nodes)
        for process in node.all_processes['raylet']
    }
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            title = (folder / 'cmdline').read_bytes().decode(errors='replace')
            parent = int((folder / 'stat').read_text().rsplit(')', 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        if parent in raylets and title.startswith(f'ray::{name}'):
            found.append(int(folder.name))
    return found


def kill(pid):
    """End a process as the system does where memory is short."""
    os.kill(pid, signal.SIGKILL)


def wait_until(is_true, seconds=180.0):
    """Wait for something to become true, and fail where it does not."""
    until = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < until, 'waited in vain'
        time.sleep(0.05)
