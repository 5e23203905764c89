"""Adding, updating and removing videos of an index in shards, each shard by one job."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from reloclnet_mm.apis import MomentInferencer
from reloclnet_mm.cluster.folder import ClusterFolder
from reloclnet_mm.cluster.jobs import ModelSource, ShardJob, merged, refuse_two_stages
from reloclnet_mm.extraction.own_videos import find_videos
from reloclnet_mm.indexing.adding import AddReport
from reloclnet_mm.indexing.store import unknown_video
from reloclnet_mm.utils.progress import counted

JobRunner = Callable[[Mapping[str, ShardJob], Callable[[int], object]], dict[str, AddReport]]
"""Runs jobs by the name of their shard and calls a function with the files done in between."""


def run_here(
    jobs: Mapping[str, ShardJob], advance: Callable[[int], object]
) -> dict[str, AddReport]:
    """Run jobs one after another in this process.

    Args:
        jobs: Jobs by the name of their shard.
        advance: Called with the number of files done since the last call.

    Raises:
        InputError: A shard cannot be used.
    """
    return {shard: job.run(advance) for shard, job in jobs.items()}


def begin(
    folder: str | os.PathLike, source: ModelSource, num_shards: int | None, *, default: int
) -> ClusterFolder:
    """Begin an index in shards, or open one and add shards to it.

    Args:
        folder: Its folder.
        source: Makes the inferencer.
        num_shards: How many shards there are then; None: as many as there are.
        default: How many shards a new index has where ``num_shards`` is None.

    Raises:
        InputError: The folder holds something else, or more shards.
    """
    if ClusterFolder.is_at(folder):
        cluster = ClusterFolder.load(folder)
        return cluster if num_shards is None else cluster.with_shards(num_shards)
    made_by = MomentInferencer(source.model, source.weights, source.device, show_progress=False)
    refuse_two_stages(made_by.model, folder)
    return ClusterFolder.create(folder, made_by.origin, num_shards or default)


def add(
    cluster: ClusterFolder,
    paths: Iterable[str | os.PathLike],
    source: ModelSource,
    run: JobRunner,
    *,
    save_every: float = 60.0,
) -> AddReport:
    """Add videos; those that are in a shard and have not changed are passed over.

    Args:
        cluster: The index, locked by the caller.
        paths: Files and folders, which all nodes must see by the same paths.
        source: Makes the inferencer of each shard.
        run: Runs the jobs.
        save_every: Seconds from one time that a shard is saved to the next.

    Raises:
        InputError: There is no video, or a shard cannot be used.
    """
    files, planned, failed = cluster.assign(find_videos(paths), cluster.records())
    # Written before any job starts: one that goes on unnoticed and one that repeats it must not
    # put a file into two shards.
    replace(cluster, planned=tuple(planned)).save()
    names = {x.path: x.name for x in planned}
    jobs = {
        shard: ShardJob(
            cluster.path_of(shard),
            source,
            tuple(mine),
            {path: names[path] for path in mine if path in names},
            save_every=save_every,
        )
        for shard, mine in files.items()
        if mine
    }
    with counted(sum(map(len, files.values())), 'videos') as advance:
        reports = run(jobs, advance)
    replace(cluster, planned=()).save()
    report = merged(reports.values(), names.values())
    report.failed |= failed
    return report


def update(cluster: ClusterFolder, source: ModelSource, run: JobRunner) -> AddReport:
    """Make again what was made of files that have changed.

    Args:
        cluster: The index, locked by the caller.
        source: Makes the inferencer of each shard.
        run: Runs the jobs.

    Raises:
        InputError: A shard cannot be used.
    """
    videos = cluster.records()
    jobs = {
        shard: ShardJob(cluster.path_of(shard), source, update=True)
        for shard, mine in videos.items()
        if mine
    }
    with counted(sum(map(len, videos.values())), 'videos') as advance:
        return merged(run(jobs, advance).values(), ())


def remove(
    cluster: ClusterFolder, names: Iterable[str], source: ModelSource, run: JobRunner
) -> None:
    """Remove videos.

    Args:
        cluster: The index, locked by the caller.
        names: Their names.
        source: Makes the inferencer of each shard.
        run: Runs the jobs.

    Raises:
        InputError: No shard has such a video; then none is removed.
    """
    owners = {x.name: shard for shard, videos in cluster.records().items() for x in videos}
    chosen: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        if name not in owners:
            raise unknown_video(name, owners)
        chosen.setdefault(owners[name], []).append(name)
    jobs = {
        shard: ShardJob(cluster.path_of(shard), source, remove=tuple(mine))
        for shard, mine in chosen.items()
    }
    run(jobs, lambda _: None)
