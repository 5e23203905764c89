"""What answers for one shard, in a process of Ray."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from reloclnet_mm.apis import MomentInferencer
from reloclnet_mm.cluster.jobs import ModelSource
from reloclnet_mm.cluster.ray_session import ray
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.indexing.records import VideoRecord
from reloclnet_mm.retrieval.moment_search import RankedMoments
from reloclnet_mm.retrieval.results import RankingOptions
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.structures import EncodedCorpus

Names = frozenset[str] | None
"""The videos of a shard that are searched; None: all."""


@dataclass(frozen=True)
class ShardContents:
    """What a shard holds.

    Attributes:
        generation: State of its index.
        node: Id of the node that answers for it.
        videos: Records of its videos.
        windows: Its windows without rows, in the order of their places; None: it has no video.
        null_scores: Best scores of queries about other things; None: not known.
    """

    generation: str
    node: str
    videos: tuple[VideoRecord, ...]
    windows: EncodedCorpus | None
    null_scores: list[float] | None


class ShardReplica:
    """Holds the index of a shard ready and answers for it; an actor of Ray.

    Places are those among the windows that are searched, and tensors are on the CPU.

    Args:
        folder: Folder of the shard.
        source: Makes the inferencer.
    """

    def __init__(self, folder: Path, source: ModelSource) -> None:
        self._folder = folder
        self._source = source
        # An error that is raised here would be the end of the actor: open() tells it.
        self._opened: MomentInferencer | None = None

    def open(self) -> ShardContents:
        """Open the index, unless it is, and tell what it holds.

        Raises:
            InputError: It cannot be used.
        """
        inferencer = self._inferencer()
        index, windows = inferencer.index, None
        if index.videos:
            windows = inferencer.searched(None).first.corpus.without_rows().to('cpu')
        node = ray.get_runtime_context().get_node_id()
        return ShardContents(index.generation, node, inferencer.videos, windows, index.null_scores)

    def search_videos(
        self, queries: Mapping[str, Tensor], width: int, names: Names
    ) -> tuple[Tensor, Tensor]:
        """Run the first round; see :meth:`CorpusIndex.search_videos`."""
        index = self._index(names)
        scores, places = index.search_videos(_moved(queries, index), width)
        return scores.cpu(), places.cpu()

    def rank_moments(
        self,
        queries: Mapping[str, Tensor],
        found: tuple[Tensor, Tensor],
        best: Tensor,
        chosen: Tensor,
        options: RankingOptions,
        names: Names,
    ) -> RankedMoments:
        """Run the second round; see :meth:`CorpusIndex.rank_moments`."""
        index = self._index(names)
        scores, places, best, chosen = (x.to(index.device) for x in (*found, best, chosen))
        queries = _moved(queries, index)
        ranked = index.rank_moments(queries, (scores, places), best, chosen, options)
        return RankedMoments(ranked.scores.cpu(), ranked.places.cpu(), ranked.spans.double().cpu())

    def stream_scores(
        self, places: Sequence[int], query: Mapping[str, Tensor], names: Names
    ) -> list[dict[str, float]]:
        """Compute the scores of streams; see :meth:`CorpusIndex.stream_scores`."""
        index = self._index(names)
        return index.stream_scores(places, _moved(query, index))

    def span_probabilities(
        self, queries: Mapping[str, Tensor], places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Compute those of start and end; see :meth:`CorpusIndex.span_probabilities`."""
        index = self._index(None)
        found = index.span_probabilities(_moved(queries, index), places)
        return None if found is None else tuple(x.cpu() for x in found)

    def sentences(self, videos: Collection[str]) -> dict[str, list[TimedSentence]]:
        """Return what is said in videos of the shard, by their names."""
        inferencer = self._inferencer()
        return {video: inferencer.sentences(video) for video in videos}

    def _inferencer(self) -> MomentInferencer:
        if self._opened is None:
            self._opened = self._source.open(self._folder)
        return self._opened

    def _index(self, names: Names) -> CorpusIndex:
        return self._inferencer().searched(names).first


def _moved(queries: Mapping[str, Tensor], index: CorpusIndex) -> dict[str, Tensor]:
    return {name: x.to(index.device) for name, x in queries.items()}
