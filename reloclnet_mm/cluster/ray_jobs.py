"""Jobs of shards as tasks of Ray.

Where the process or the node of a task is lost, Ray runs the task again, and it passes over what
the lost one has saved. Ray Data is not used: it divides files anew with each run and needs pyarrow,
and a task a shard goes on where it was as it is.
"""

from collections.abc import Callable, Mapping

from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reloclnet_mm.cluster.jobs import ShardJob
from reloclnet_mm.cluster.ray_session import Resources, ray
from reloclnet_mm.errors import InputError
from reloclnet_mm.indexing.adding import AddReport

_SECONDS_BETWEEN_LOOKS = 1.0


class _Counter:
    """How many files each shard has done."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}

    def put(self, shard: str, done: int) -> None:
        self._done[shard] = done

    def total(self) -> int:
        return sum(self._done.values())


def index_shard(shard: str, job: ShardJob, counter: ActorHandle) -> AddReport:
    """Run the job of a shard, as a task of Ray.

    Args:
        shard: Its name.
        job: The job.
        counter: Is told how many files are done.
    """
    done = 0

    def advance(step: int) -> None:
        nonlocal done
        done += step
        counter.put.remote(shard, done)

    return job.run(advance)


def run_on_ray(
    jobs: Mapping[str, ShardJob], advance: Callable[[int], object], resources: Resources
) -> dict[str, AddReport]:
    """Run each job as a task, on all nodes.

    Args:
        jobs: Jobs by the name of their shard.
        advance: Called with the number of files done since the last call.
        resources: What a task is counted as.

    Raises:
        InputError: A shard cannot be used; the other jobs have ended then.
    """
    resources.nodes()
    counter = ray.remote(_Counter).options(
        num_cpus=0,
        max_restarts=-1,
        # It outlives the nodes that jobs are on.
        scheduling_strategy=NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        ),
    )
    task = ray.remote(index_shard).options(
        max_retries=-1,
        scheduling_strategy='SPREAD',
        num_cpus=resources.num_cpus,
        num_gpus=resources.num_gpus,
    )
    progress = _Progress(counter.remote(), advance)
    waiting = {task.remote(shard, job, progress.counter): shard for shard, job in jobs.items()}
    reports: dict[str, AddReport] = {}
    problems: list[str] = []
    while waiting:
        ended, _ = ray.wait([*waiting], timeout=_SECONDS_BETWEEN_LOOKS)
        for ref in ended:
            shard = waiting.pop(ref)
            try:
                reports[shard] = ray.get(ref)
            except RayTaskError as error:
                if not isinstance(error.cause, InputError):
                    raise
                problems.append(f'{shard}: {error.cause}')
        progress.look()
    if problems:
        raise InputError('; '.join(sorted(problems)))
    lists = [x for report in reports.values() for x in vars(report).values()]
    progress.finish(sum(map(len, lists)))
    return reports


class _Progress:
    """Tells how far all jobs are together."""

    def __init__(self, counter: ActorHandle, advance: Callable[[int], object]) -> None:
        self.counter = counter
        self._advance = advance
        self._shown = 0

    def finish(self, total: int) -> None:
        """Tell that so many files are done: what jobs said last may still be on its way."""
        self._advance(max(0, total - self._shown))
        self._shown = max(total, self._shown)

    def look(self) -> None:
        try:
            total = ray.get(self.counter.total.remote(), timeout=_SECONDS_BETWEEN_LOOKS)
        except (RayError, TimeoutError):
            return  # It is only shown.
        # A job that is run again counts from the beginning.
        if total > self._shown:
            self._advance(total - self._shown)
            self._shown = total
