"""The processes that answer for the shards: which of them are up, asking them, moving them."""

import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reloclnet_mm.cluster.jobs import ModelSource
from reloclnet_mm.cluster.ray_session import Resources, ray
from reloclnet_mm.cluster.replica import ShardContents, ShardReplica
from reloclnet_mm.errors import InputError

# A shard that could not be opened is tried again after so many seconds: a disk may come back.
_SECONDS_TO_NEXT_OPENING = 30.0
_STARTING = 'its process is being started'


class Call(NamedTuple):
    """A method of :class:`ShardReplica` and its arguments."""

    method: str
    args: tuple[Any, ...]


@dataclass(eq=False)
class _Replica:
    """One process that answers for a shard.

    Attributes:
        shard: Name of the shard.
        actor: The process.
        node: Node that it is on, or was put on.
        opening: The answer to ``open`` that is waited for; None: it is up, or not to be used.
        problem: Why it cannot be used; None: it is up.
        next_opening: When an opening that failed is tried again.
    """

    shard: str
    actor: ActorHandle
    node: str
    opening: ObjectRef | None = None
    problem: str | None = _STARTING
    next_opening: float = field(default=float('inf'))

    def reopen(self, problem: str) -> None:
        """Use it again when it has opened the shard, after Ray has started it anew."""
        self.problem, self.next_opening = problem, float('inf')
        # Other calls fail at once where the process is gone; this one waits for the new one.
        self.opening = self.actor.open.options(max_task_retries=-1).remote()


class Fleet:
    """Processes that answer for shards, some for each.

    Args:
        folders: Folder of each shard by its name.
        source: Makes the inferencer of each shard.
        replicas: Processes for each shard.
        timeout: Seconds after which a process that does not answer is left out of an answer.
        resources: What a process is counted as.

    Raises:
        InputError: No node is large enough.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        source: ModelSource,
        *,
        replicas: int,
        timeout: float,
        resources: Resources,
    ) -> None:
        self.timeout = timeout
        self.contents: dict[str, ShardContents] = {}
        self._folders = dict(folders)
        self._source = source
        self._resources = resources
        # Queries and the watch over the nodes are of different threads.
        self._lock = threading.RLock()
        self._replicas: dict[str, list[_Replica]] = {shard: [] for shard in folders}
        nodes = resources.nodes()
        for _ in range(replicas):
            for shard in folders:
                self._replicas[shard].append(self._start(shard, self._node_for(shard, nodes)))

    def wait(self, seconds: float) -> None:
        """Wait until each process has opened its shard or failed to.

        Args:
            seconds: At most so long.
        """
        until = monotonic() + seconds
        while opening := [x.opening for x in self._all() if x.opening is not None]:
            ray.wait(opening, num_returns=len(opening), timeout=max(0.0, until - monotonic()))
            self.refresh()
            if monotonic() >= until:
                return

    def refresh(self) -> None:
        """Take note of which processes have opened their shards since the last call."""
        with self._lock:
            for replica in self._all():
                if replica.opening is not None and ray.wait([replica.opening], timeout=0)[0]:
                    self._take_opening(replica)
                elif monotonic() >= replica.next_opening:
                    replica.reopen(replica.problem)

    def problem_of(self, shard: str) -> str:
        """Say why a shard does not answer."""
        return self._replicas[shard][0].problem or 'it did not answer'

    def ask(self, calls: Mapping[str, Call]) -> tuple[dict[str, Any], dict[str, str]]:
        """Ask several shards at once, each by one of its processes, or another if that fails.

        Args:
            calls: What to ask, by the name of the shard.

        Returns:
            Answers, and the reasons of the shards that have none, by the name of the shard.
        """
        self.refresh()
        return _Round(self, calls).run()

    def up(self, shard: str) -> list[_Replica]:
        """List the processes of a shard that can be asked, in an order by chance."""
        with self._lock:
            found = [x for x in self._replicas[shard] if x.problem is None]
            return random.sample(found, len(found))

    def nodes(self) -> Counter[str]:
        """Count the processes on each node that is there and large enough."""
        counts = Counter(dict.fromkeys(self._resources.nodes(), 0))
        counts.update(x.node for x in self._all() if x.node in counts)
        return counts

    def rebalance(self) -> int:
        """Spread the processes evenly over the nodes that are there.

        A process is started on the node with the fewest, then one on the node with the most is
        stopped, so that its shard goes on to answer.

        Returns:
            How many have been moved.
        """
        self.refresh()
        moved = 0
        while (replica := self._next_to_move()) is not None and self._move(*replica):
            moved += 1
        return moved

    def stop(self) -> None:
        """Stop all processes."""
        for replica in self._all():
            ray.kill(replica.actor)

    def _all(self) -> list[_Replica]:
        return [x for replicas in self._replicas.values() for x in replicas]

    def _node_for(self, shard: str, nodes: list[str]) -> str:
        """Choose the node with the fewest processes, and none of the same shard if there is one."""
        counts = Counter(x.node for x in self._all())
        own = Counter(x.node for x in self._replicas[shard])
        return min(nodes, key=lambda node: (own[node], counts[node]))

    def _start(self, shard: str, node: str) -> _Replica:
        actor = ray.remote(ShardReplica).options(
            num_cpus=self._resources.num_cpus,
            num_gpus=self._resources.num_gpus,
            max_restarts=-1,
            # Soft: where the node is lost, Ray starts it on another one.
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
        )
        replica = _Replica(shard, actor.remote(self._folders[shard], self._source), node)
        replica.reopen(_STARTING)
        return replica

    def _take_opening(self, replica: _Replica) -> None:
        opening, replica.opening = replica.opening, None
        try:
            contents = ray.get(opening)
        except ActorDiedError:
            # For good, as where it was killed by hand.
            replica.actor = self._start(replica.shard, replica.node).actor
            replica.reopen(_STARTING)
            return
        except RayTaskError as error:
            replica.problem = reason_of(error)
            replica.next_opening = monotonic() + _SECONDS_TO_NEXT_OPENING
            return
        except RayError:
            replica.reopen(_STARTING)
            return
        replica.node = contents.node
        known = self.contents.setdefault(replica.shard, contents)
        if known.generation != contents.generation:
            replica.problem = 'its index has been changed; open the cluster again'
            return
        replica.problem = None

    def _next_to_move(self) -> tuple[_Replica, str] | None:
        """Choose a process and the node to move it to; None: they are spread evenly."""
        counts = self.nodes()
        least = min(counts, key=counts.__getitem__)
        for node, count in counts.most_common():
            if count - counts[least] < 2:
                return None
            # A shard whose processes are on different nodes survives the loss of one.
            there = {x.shard for x in self._all() if x.node == least}
            movable = [x for x in self._all() if x.node == node and x.problem is None]
            chosen = next((x for x in movable if x.shard not in there), None)
            if chosen is not None:
                return chosen, least
        return None

    def _move(self, old: _Replica, node: str) -> bool:
        """Start a process on a node in the place of another; tell whether it came up there."""
        new = self._start(old.shard, node)
        ray.wait([new.opening], timeout=max(self.timeout, _SECONDS_TO_NEXT_OPENING))
        with self._lock:
            if ray.wait([new.opening], timeout=0)[0]:
                self._take_opening(new)
            if new.problem is not None or new.node != node:
                ray.kill(new.actor)
                return False
            replicas = self._replicas[old.shard]
            replicas[replicas.index(old)] = new
        # After the calls that it has taken, and without being started again.
        old.actor.__ray_terminate__.remote()
        return True


class _Attempt(NamedTuple):
    """A call that is waited for until a time."""

    shard: str
    replica: _Replica
    until: float


class _Round:
    """One call to each of several shards."""

    def __init__(self, fleet: Fleet, calls: Mapping[str, Call]) -> None:
        self._fleet = fleet
        self._calls = calls
        self._deadline = monotonic() + fleet.timeout
        self._left = {shard: fleet.up(shard) for shard in calls}
        self._running: dict[ObjectRef, _Attempt] = {}
        self._answers: dict[str, Any] = {}
        self._problems: dict[str, str] = {}

    def run(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the answers, and the reasons of the shards without one."""
        for shard in self._calls:
            self._try_next(shard)
        while self._running:
            until = min(x.until for x in self._running.values())
            ended, _ = ray.wait([*self._running], timeout=max(0.0, until - monotonic()))
            for ref in ended:
                self._take(ref)
            for ref in [*self._expired()]:
                attempt = self._running.pop(ref)
                attempt.replica.reopen('it did not answer in time')
                self._try_next(attempt.shard)
        return self._answers, self._problems

    def _expired(self) -> Iterator[ObjectRef]:
        now = monotonic()
        yield from [ref for ref, attempt in self._running.items() if attempt.until <= now]

    def _try_next(self, shard: str) -> None:
        left = self._left[shard]
        if not left:
            self._problems[shard] = self._fleet.problem_of(shard)
            return
        replica, now = left.pop(), monotonic()
        # Those that are left must have time to answer, too.
        until = now + max(0.0, self._deadline - now) / (len(left) + 1)
        method, args = self._calls[shard]
        ref = getattr(replica.actor, method).remote(*args)
        self._running[ref] = _Attempt(shard, replica, until)

    def _take(self, ref: ObjectRef) -> None:
        attempt = self._running.pop(ref)
        try:
            self._answers[attempt.shard] = ray.get(ref)
        except RayTaskError as error:
            attempt.replica.reopen(reason_of(error))
            self._try_next(attempt.shard)
        except RayError:
            attempt.replica.reopen('its process ended and is being started again')
            self._try_next(attempt.shard)


def reason_of(error: RayTaskError) -> str:
    """Return what went wrong in a process of Ray, without its traceback."""
    cause = error.cause
    return str(cause) if isinstance(cause, InputError) else f'{type(cause).__name__}: {cause}'
