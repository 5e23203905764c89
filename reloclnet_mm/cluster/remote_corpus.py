"""A corpus whose windows are in the processes of the shards."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import torch
from torch import Tensor

from reloclnet_mm.cluster.fleet import Call, Fleet
from reloclnet_mm.cluster.replica import Names, ShardContents
from reloclnet_mm.errors import UnavailableError
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.indexing.records import VideoRecord
from reloclnet_mm.indexing.searched import owners_of
from reloclnet_mm.retrieval.moment_search import RankedMoments
from reloclnet_mm.retrieval.results import RankedLists, RankingOptions
from reloclnet_mm.retrieval.sharding import rank_over_shards
from reloclnet_mm.structures import EncodedCorpus

# Each shard counts its windows from 0, and has fewer than this.
_IDS_OF_A_SHARD = 2**40


@dataclass(frozen=True)
class _Part:
    """The windows of a shard that are searched.

    Attributes:
        names: Their videos; None: all of the shard.
        places: (N,) int64, their places in the whole corpus.
        places_here: (all windows,) int64, the place of each window in this shard.
    """

    names: Names
    places: Tensor
    places_here: Tensor

    @staticmethod
    def of(corpus: EncodedCorpus, windows: EncodedCorpus, names: Names) -> '_Part':
        """Find the places of a shard's windows in the whole corpus."""
        places = torch.tensor([corpus.place_of(x) for x in windows.video_ids.tolist()])
        places_here = torch.full((len(corpus),), -1)
        places_here[places] = torch.arange(len(places))
        return _Part(names, places, places_here)


@dataclass(frozen=True)
class ClusterView:
    """Which windows are searched and where they are.

    Attributes:
        corpus: All of them, without rows.
        parts: Those of each shard.
        owners: Window id to its video and its begin in seconds.
        shard_of: Name of the video to its shard.
        shards: Names of all shards by their numbers.
    """

    corpus: EncodedCorpus
    parts: Mapping[str, _Part]
    owners: Mapping[int, tuple[VideoRecord, float]]
    shard_of: Mapping[str, str]
    shards: Sequence[str]

    @staticmethod
    def of(
        contents: Mapping[str, ShardContents], order: Sequence[str], names: Names
    ) -> 'ClusterView | None':
        """Put the windows of shards together; None: there is none.

        Args:
            contents: What shards hold.
            order: Names of all shards, which number their windows.
            names: Videos that are searched; None: all.
        """
        windows: dict[str, EncodedCorpus] = {}
        chosen: dict[str, Names] = {}
        shard_of: dict[str, str] = {}
        records: list[VideoRecord] = []
        for number, shard in enumerate(order):
            if shard not in contents or contents[shard].windows is None:
                continue
            mine = renumbered(contents[shard].videos, number)
            shard_of |= dict.fromkeys((x.name for x in mine), shard)
            chosen[shard] = None if names is None else names & {x.name for x in mine}
            searched = [x for x in mine if names is None or x.name in names]
            if searched:
                records += searched
                windows[shard] = _windows_of(contents[shard].windows, number, searched)
        if not windows:
            return None
        corpus = EncodedCorpus.merge([*windows.values()])
        parts = {shard: _Part.of(corpus, x, chosen[shard]) for shard, x in windows.items()}
        return ClusterView(corpus, parts, owners_of(records), shard_of, order)


def renumbered(videos: Iterable[VideoRecord], number: int) -> list[VideoRecord]:
    """Give the windows of a shard ids that no other shard has.

    Args:
        videos: Videos of the shard.
        number: Number of the shard.
    """
    base = number * _IDS_OF_A_SHARD
    return [msgspec.structs.replace(x, first_window=x.first_window + base) for x in videos]


def _windows_of(
    windows: EncodedCorpus, number: int, searched: Sequence[VideoRecord]
) -> EncodedCorpus:
    """Take the windows of some videos of a shard, with ids that no other shard has."""
    base = number * _IDS_OF_A_SHARD
    windows = replace(
        windows, video_ids=windows.video_ids + base, positions=windows.positions + base
    )
    ids = {window for record in searched for window in record.windows}
    return windows if len(ids) == len(windows) else windows.select_ids(ids)


class RemoteCorpus:
    """Ranks the windows of a view for queries, as a ``CorpusIndex`` does for those of a process.

    A shard that did not answer once is not asked again, so that a search waits for it once.

    Args:
        view: What is searched.
        fleet: Processes that answer.

    Attributes:
        problems: Reasons of the shards that did not answer, by name.
    """

    def __init__(self, view: ClusterView, fleet: Fleet) -> None:
        self.problems: dict[str, str] = {}
        self._view = view
        self._fleet = fleet

    @property
    def corpus(self) -> EncodedCorpus:
        """All windows, without rows."""
        return self._view.corpus

    @property
    def device(self) -> torch.device:
        """Device of ranked lists."""
        return torch.device('cpu')

    @property
    def num_videos(self) -> int:
        """Windows of the shards that answer."""
        return sum(len(self._view.parts[shard].places) for shard in self._answering())

    @torch.no_grad()
    def rank(
        self, queries: Mapping[str, Tensor], own_videos: Tensor, options: RankingOptions
    ) -> RankedLists:
        """Rank windows and moments (VR and VCMR); see ``CorpusIndex.rank``.

        Args:
            queries: Stream name to (Q, d).
            own_videos: (Q,) int64, −1: SVMR is not answered.
            options: How many, how long.

        Raises:
            UnavailableError: No shard answers.
        """
        scores, places, moments = rank_over_shards(self, _on_cpu(queries), options)
        return RankedLists(scores, places, moments, None)

    def search_videos(
        self, queries: Mapping[str, Tensor], width: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run the first round; see ``VideoShards``.

        Raises:
            UnavailableError: No shard answers.
        """
        answers = self._ask(
            {
                shard: Call('search_videos', (queries, width, self._view.parts[shard].names))
                for shard in self._answering()
            }
        )
        if not answers:
            reasons = '; '.join(f'{shard}: {why}' for shard, why in self.problems.items())
            raise UnavailableError(f'no shard answers ({reasons}); ask again in a moment')
        found = [answers[shard] for shard in self._answering()]
        places = [
            self._view.parts[shard].places[local]
            for shard, (_, local) in zip(self._answering(), found, strict=True)
        ]
        return [scores for scores, _ in found], places

    def rank_moments(
        self,
        queries: Mapping[str, Tensor],
        found: tuple[list[Tensor], list[Tensor]],
        best: Tensor,
        counts: Tensor,
        options: RankingOptions,
    ) -> list[RankedMoments]:
        """Run the second round; see ``VideoShards``. Only shards with chosen windows are asked."""
        calls = {}
        for shard, scores, places, chosen in zip(self._answering(), *found, counts, strict=True):
            if searched := int(chosen.max()):
                part = self._view.parts[shard]
                mine = scores[:, :searched].clone(), part.places_here[places[:, :searched]]
                calls[shard] = Call(
                    'rank_moments', (queries, mine, best, chosen, options, part.names)
                )
        none = RankedMoments.none(len(best), options.spans.num_moments, self.device)
        lists = [
            replace(ranked, places=self._view.parts[shard].places[ranked.places])
            for shard, ranked in self._ask(calls).items()
        ]
        return [*lists, none]

    def stream_scores(
        self, places: Sequence[int], query: Mapping[str, Tensor]
    ) -> list[dict[str, float]]:
        """Compute the scores of streams; see ``CorpusIndex.stream_scores``.

        Windows of a shard that does not answer have none.
        """
        owners = [self._shard_at(place) for place in places]
        calls = {}
        for shard in {*owners} & {*self._answering()}:
            part = self._view.parts[shard]
            asked = [x for x, owner in zip(places, owners, strict=True) if owner == shard]
            local = part.places_here[torch.tensor(asked)].tolist()
            calls[shard] = Call('stream_scores', (local, _on_cpu(query), part.names))
        # The answers of a shard are in the order of its places.
        answers = {shard: iter(x) for shard, x in self._ask(calls).items()}
        return [next(answers[x]) if x in answers else {} for x in owners]

    def span_probabilities(
        self, queries: Mapping[str, Tensor], videos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Compute those of start and end; see ``CorpusIndex.span_probabilities``.

        Args:
            queries: Stream name to (1, d).
            videos: (1,) int64, the place of a window in ``corpus``.

        Raises:
            UnavailableError: The shard does not answer.
        """
        shard = self._shard_at(int(videos[0]))
        local = self._view.parts[shard].places_here[videos]
        return self._ask_one(shard, Call('span_probabilities', (_on_cpu(queries), local)))

    def sentences(self, videos: Collection[str]) -> dict[str, list[TimedSentence]]:
        """Return what is said in videos, by name; those whose shard does not answer are left out.

        Args:
            videos: Their names.
        """
        calls = {}
        for shard in self._answering():
            mine = [x for x in videos if self._view.shard_of[x] == shard]
            if mine:
                calls[shard] = Call('sentences', (mine,))
        return {name: x for found in self._ask(calls).values() for name, x in found.items()}

    def sentences_of(self, video: str) -> list[TimedSentence]:
        """Return what is said in a video.

        Args:
            video: Its name.

        Raises:
            UnavailableError: The shard does not answer.
        """
        return self._ask_one(self._view.shard_of[video], Call('sentences', ([video],)))[video]

    def _answering(self) -> list[str]:
        return [shard for shard in self._view.parts if shard not in self.problems]

    def _ask(self, calls: Mapping[str, Call]) -> dict[str, Any]:
        answers, problems = self._fleet.ask(calls)
        self.problems |= problems
        return answers

    def _ask_one(self, shard: str, call: Call) -> Any:
        answers = self._ask({shard: call})
        if shard not in answers:
            raise UnavailableError(
                f'{shard} does not answer ({self.problems[shard]}); ask again in a moment'
            )
        return answers[shard]

    def _shard_at(self, place: int) -> str:
        number = int(self.corpus.video_ids[place]) // _IDS_OF_A_SHARD
        return self._view.shards[number]


def _on_cpu(queries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.cpu() for name, x in queries.items()}
