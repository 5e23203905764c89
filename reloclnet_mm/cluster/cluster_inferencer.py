"""From a sentence to the moments of videos that many processes hold."""

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from ray.exceptions import RayError

from reloclnet_mm.apis.query_inferencer import QueryInferencer, Ranked
from reloclnet_mm.cluster.fleet import Fleet
from reloclnet_mm.cluster.folder import ClusterFolder
from reloclnet_mm.cluster.jobs import ModelSource, refuse_two_stages
from reloclnet_mm.cluster.ray_session import Resources
from reloclnet_mm.cluster.remote_corpus import ClusterView, RemoteCorpus, renumbered
from reloclnet_mm.errors import InputError, UnavailableError
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.indexing.hits import Hits, WindowProbabilities
from reloclnet_mm.indexing.records import VideoRecord
from reloclnet_mm.indexing.searched import Searched
from reloclnet_mm.indexing.store import read_records
from reloclnet_mm.registry import INFERENCERS

_ViewKey = tuple[frozenset[str], frozenset[str] | None]


@INFERENCERS.register_module()
class ClusterInferencer(QueryInferencer):
    """Searches an index in shards, each of which is held by processes of Ray.

    Queries are encoded here; the shards rank their windows, and the lists are merged, so that they
    are those of one index with all videos. Where a shard does not answer, the others do, and
    :attr:`Hits.missing` names it. The program must be connected to Ray, by
    :func:`~reloclnet_mm.cluster.ray_session.ray_session`.

    Args:
        folder: Folder of the index, which all nodes see by the same path.
        model: Config of the model that made it; None: one that comes with the package.
        weights: Its weights.
        device: Device of the model here and on the nodes; None: the CPU.
        replicas: Processes for each shard; with two, one may be lost without a gap.
        timeout: Seconds after which a shard that does not answer is left out.
        start_timeout: Seconds to wait until all shards are open; those that are not are left out
            until they are.
        num_cpus: Cores, or a part of one, that a process is counted as.
        num_gpus: GPUs, or a part of one, where ``device`` is a GPU.

    Attributes:
        folder: Folder of the index.
        timeout: As the argument.

    Raises:
        InputError: The index cannot be used, something else made it, the model has two stages, or
            no shard could be opened.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        model: str | Path | Config | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        *,
        replicas: int = 1,
        timeout: float = 10.0,
        start_timeout: float = 300.0,
        num_cpus: float = 0.1,
        num_gpus: float = 0.1,
    ) -> None:
        for name, value in (('replicas', replicas), ('timeout', timeout), ('num_cpus', num_cpus)):
            if value <= 0:
                raise InputError(f'{name}={value}, expected more than 0')
        cluster = ClusterFolder.load(folder)
        model = model or cluster.origin.model
        if model is None:
            raise InputError(
                f'{folder}: made by a model that does not come with the package; give its config '
                'and weights'
            )
        source = ModelSource.of(model, weights, device)
        super().__init__(source.model, source.weights, source.device, show_progress=False)
        refuse_two_stages(self.model, cluster.folder)
        self.check_origin(cluster.origin, cluster.folder, whole=False)
        self.folder = cluster.folder
        self.timeout = timeout
        self._shards = cluster.shards
        self._on_disk = {shard: _records_at(cluster.path_of(shard)) for shard in self._shards}
        self._fleet = Fleet(
            {shard: cluster.path_of(shard) for shard in self._shards},
            source,
            replicas=replicas,
            timeout=timeout,
            resources=Resources.on(source.device, num_cpus, num_gpus),
        )
        # Of all videos, and of those of the last search of some.
        self._views: dict[bool, tuple[_ViewKey, ClusterView | None]] = {}
        self._listed: tuple[set[str], _Directory] | None = None
        self._fleet.wait(start_timeout)
        if not self._fleet.contents:
            closed = {shard: self._fleet.problem_of(shard) for shard in self._shards}
            self.close()
            raise self._nothing_to_search(closed)

    def searched(self, videos: Iterable[str] | None) -> Searched:
        """Return what is searched; see :meth:`QueryInferencer.searched`.

        Raises:
            InputError: As there.
            UnavailableError: No shard with one of the videos is open.
        """
        names = None if videos is None else frozenset(videos)
        wanted = self._shards_of(names)
        self._fleet.refresh()
        closed = {x: self._fleet.problem_of(x) for x in wanted if x not in self._fleet.contents}
        view = self._view(names)
        if view is None:
            raise self._nothing_to_search(closed)
        remote = RemoteCorpus(view, self._fleet)
        remote.problems |= closed
        self._rank(min(self._most_videos, len(view.corpus)))
        nulls = None if names is not None or closed else self._null_scores()
        return Searched(remote, remote, view.owners, remote.sentences, self.recipe.language, nulls)

    @torch.no_grad()
    def postprocess(
        self, preds: Ranked, visualization: None = None, *, top_k: int = 10
    ) -> list[Hits]:
        """Make hits of ranked lists, which say what was not searched.

        Args:
            preds: Of :meth:`forward`.
            visualization: Nothing; pictures are drawn of hits.
            top_k: Moments of each query.
        """
        found = super().postprocess(preds, top_k=top_k)
        missing = self._missing(preds.searched.ready.problems)
        for hits in found:
            hits.missing = missing
            if missing:
                # How well queries about other things score is known of all shards together.
                hits.null_rate = None
        return found

    def sentences(self, video: str) -> list[TimedSentence]:
        """Return what is said in a video; see :meth:`QueryInferencer.sentences`.

        Raises:
            InputError: As there.
            UnavailableError: Its shard does not answer.
        """
        self._check_open(video)
        return self.searched(None).ready.sentences_of(video)

    def timeline(self, query: str, video: str, around: float) -> WindowProbabilities:
        """Compute where the moment is; see :meth:`QueryInferencer.timeline`.

        Raises:
            InputError: As there.
            UnavailableError: The shard of the video does not answer.
        """
        self._check_open(video)
        return super().timeline(query, video, around)

    def nodes(self) -> Mapping[str, int]:
        """Count the processes of shards on each node, by its id.

        Raises:
            InputError: There is no node that is large enough.
        """
        return self._fleet.nodes()

    def rebalance(self) -> int:
        """Spread the shards evenly over the nodes that are there.

        Returns:
            How many processes have been moved.

        Raises:
            InputError: There is no node that is large enough.
        """
        return self._fleet.rebalance()

    @contextmanager
    def watching(self, seconds: float = 30.0) -> Iterator[None]:
        """Look after the nodes while the block runs: spread the shards where one has been added.

        Args:
            seconds: From one look to the next.
        """
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(seconds):
                # Without a node there is nothing to spread; queries tell it.
                with suppress(InputError, RayError):
                    self.rebalance()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def close(self) -> None:
        """Stop the processes."""
        self._fleet.stop()

    def _records(self) -> Mapping[str, VideoRecord]:
        return self._directory().records

    def _directory(self) -> '_Directory':
        """Return which videos there are, made again where a shard has been opened."""
        contents = dict(self._fleet.contents)
        if self._listed is None or self._listed[0] != contents.keys():
            videos = {x: self._on_disk[x] for x in self._shards if x not in contents}
            videos |= {shard: x.videos for shard, x in contents.items()}
            self._listed = {*contents}, _Directory.of(videos, self._shards)
        return self._listed[1]

    def _shards_of(self, names: frozenset[str] | None) -> list[str]:
        """List the shards in which some videos are, or all."""
        if names is None:
            return [*self._shards]
        if not names:
            raise InputError('videos is empty, expected names of videos, or None for all')
        shards = self._directory().shards
        return sorted({shards[self._record(name).name] for name in names})

    def _check_open(self, video: str) -> None:
        (shard,) = self._shards_of(frozenset([video]))
        if shard not in self._fleet.contents:
            raise UnavailableError(
                f'{shard} is not open ({self._fleet.problem_of(shard)}); ask again in a moment'
            )

    def _view(self, names: frozenset[str] | None) -> ClusterView | None:
        """Return the view of some videos, or of all, made again where a shard has been opened."""
        contents = dict(self._fleet.contents)
        key = frozenset(contents), names
        kept = self._views.get(names is None)
        if kept is None or kept[0] != key:
            kept = key, ClusterView.of(contents, self._shards, names)
            self._views[names is None] = kept
        return kept[1]

    def _null_scores(self) -> list[float] | None:
        """Return the best scores of queries about other things over all shards."""
        found = [x.null_scores for x in self._fleet.contents.values() if x.videos]
        if None in found:
            return None
        # Each shard has them in the order of the queries.
        return [max(scores) for scores in zip(*found, strict=True)]

    def _missing(self, problems: Mapping[str, str]) -> tuple[str, ...]:
        shards = self._directory().shards
        counts = Counter(shards.values())
        return tuple(
            f'{shard}, {_counted(counts[shard], len(shards))}, does not answer ({why})'
            for shard, why in sorted(problems.items())
        )

    def _nothing_to_search(self, closed: Mapping[str, str]) -> InputError:
        if not closed:
            return InputError('the index has no video; add some first')
        reasons = '; '.join(f'{shard}: {why}' for shard, why in closed.items())
        return UnavailableError(f'no shard can be searched ({reasons})')


@dataclass(frozen=True)
class _Directory:
    """Which videos there are.

    Attributes:
        records: Name to record, whose windows have ids that no other shard has.
        shards: Name to the shard that has the video.
    """

    records: Mapping[str, VideoRecord]
    shards: Mapping[str, str]

    @staticmethod
    def of(videos: Mapping[str, Iterable[VideoRecord]], order: Sequence[str]) -> '_Directory':
        """List the videos of shards, which are numbered by their order."""
        listed = [
            (record, shard)
            for number, shard in enumerate(order)
            for record in renumbered(videos[shard], number)
        ]
        return _Directory(
            {record.name: record for record, _ in listed},
            {record.name: shard for record, shard in listed},
        )


def _records_at(folder: Path) -> list[VideoRecord]:
    """Read which videos a shard has; of a damaged one, which its process tells, none."""
    try:
        return read_records(folder)
    except InputError:
        return []


def _counted(count: int, total: int) -> str:
    return f'{count} of {total} videos' if count else 'an unknown number of videos'
