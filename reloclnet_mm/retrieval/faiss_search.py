"""The best videos of a corpus that is too large to score every clip of it.

Letters of shapes: Q queries, N videos, V candidates, d width, K best videos.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from msgspec.structs import replace
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.retrieval.clip_runs import begins_of_runs
from reloclnet_mm.retrieval.inverted_lists import (
    CLIPS_A_LIST,
    Effort,
    ListSettings,
    ListsInfo,
    MappedLists,
    TrainedLists,
    Tuned,
    begin_info,
    read_info,
    text_of_info,
    write_info,
)
from reloclnet_mm.retrieval.similarity import inverse_norm
from reloclnet_mm.retrieval.video_search import ExactVideoSearch, VideoSearch
from reloclnet_mm.structures import EncodedCorpus
from reloclnet_mm.structures.parted_corpus import PartedCorpus

# Videos whose clips are float32 in memory at a time while lists are built.
_VIDEOS_AT_ONCE = 2048
# Codes are trained on so many clips, or on all.
_LEAST_TO_TRAIN = 2**14
# Clips that are found of each stream for a video that is asked for. The more, the more videos are
# found by all streams, and the fewer must be scored exactly.
_CLIPS_A_VIDEO = 20
# Videos without lists that are kept in memory; more are read anew for each search.
_MOST_KEPT = 20_000
_LISTS = (8, 16, 32, 64, 128, 256, 512, 1024)
_CANDIDATES = (1.5, 2.0, 4.0, 8.0)


class FaissVideoSearch(VideoSearch):
    """Scores the videos that clips found by inverted files of faiss belong to.

    The clips of each stream that are most similar to a query are found in some of the lists; their
    videos are candidates. Those that may be best by what was found of them are scored exactly, from
    all of their clips. So each score is exact, and a list may lack a video. Parts of the corpus
    that have no lists yet are scored as a whole.

    Args:
        corpus: The videos, which are read as they are needed.
        folder: Folder of the lists.
        info: What is in it.
    """

    def __init__(self, corpus: PartedCorpus, folder: Path, info: ListsInfo) -> None:
        self.corpus, self.folder, self.info = corpus, folder, info
        self._trained = {
            stream: TrainedLists.read(folder / file.name) for stream, file in info.trained.items()
        }
        self._use(info)

    @staticmethod
    def open(
        corpus: PartedCorpus, folder: str | Path, *, verify: bool = False
    ) -> 'FaissVideoSearch':
        """Open lists that were built.

        Args:
            corpus: The videos. Those of them that are in no list are scored without.
            folder: Folder of the lists.
            verify: Whether to compare all files with their checksums.

        Raises:
            InputError: There are none, they are damaged, or of another kind of corpus.
        """
        folder, before = Path(folder), None
        while True:
            try:
                info = read_info(folder, verify=verify)
                _check_kind(corpus, folder, info)
                return FaissVideoSearch(corpus, folder, info)
            except InputError:
                # A writer may have put other lists in their place, and removed these.
                now = text_of_info(folder)
                if now in (None, before):
                    raise
                before = now

    @staticmethod
    def build(
        corpus: PartedCorpus,
        folder: str | Path,
        settings: ListSettings | None = None,
        *,
        advance: Callable[[int], object] = lambda count: None,
    ) -> 'FaissVideoSearch':
        """Train on a sample and put all clips into lists, or go on where a build was stopped.

        Memory holds the lists of one part and stream. Of parts that were there before nothing is
        written again, and lists of parts that are gone are removed.

        Args:
            corpus: The videos.
            folder: Folder of the lists.
            settings: How clips are stored; None: those of a build that was there, or by size.
            advance: Called with the number of videos done since the last call, of ``len(corpus)``.

        Raises:
            InputError: The folder cannot be written, or what is there is of another kind of corpus.
        """
        folder = Path(folder)
        if (folder / 'search.json').exists():
            search = FaissVideoSearch.open(corpus, folder)
            if settings in (None, search.info.settings):
                search.update(advance=advance)
                return search
        settings = settings or _choose_settings(corpus)
        trained = {
            stream: TrainedLists.train(_sample(corpus, stream, settings), settings)
            for stream in corpus.streams
        }
        info = begin_info(folder, settings, _width(corpus), trained)
        write_info(folder, info)
        search = FaissVideoSearch(corpus, folder, info)
        search.update(advance=advance)
        return search

    def update(self, *, advance: Callable[[int], object] = lambda count: None) -> None:
        """Build the lists of parts that have none, and remove those of parts that are gone.

        Args:
            advance: Called with the number of videos done since the last call.

        Raises:
            InputError: The folder cannot be written.
        """
        kept = {name: x for name, x in self.info.parts.items() if name in self.corpus.parts}
        info = replace(self.info, parts=kept)
        for name, part in self.corpus.parts.items():
            if name not in info.parts:
                lists = {
                    stream: trained.write_lists(
                        self.folder,
                        f'{name}-{stream}',
                        _clips(part.corpus, stream, info.settings.same),
                    )
                    for stream, trained in self._trained.items()
                }
                info = replace(info, parts=info.parts | {name: lists})
                write_info(self.folder, info)
            advance(len(part.kept))
        if info != self.info:
            write_info(self.folder, info)
        self._use(info)

    @torch.no_grad()
    def search(self, queries: Mapping[str, Tensor], k: int) -> tuple[Tensor, Tensor]:
        """Find the best videos; see :meth:`VideoSearch.search`."""
        return self._search(queries, k, self.info.effort)

    def tune(
        self, queries: Mapping[str, Tensor], target_recall: float, num_videos: int = 100
    ) -> Tuned:
        """Choose the fastest effort by which so much of exact lists is found, and keep it.

        Args:
            queries: Stream name to (Q, d), which no result is reported of.
            target_recall: Wanted share of the videos of exact lists, 0 to 1.
            num_videos: Length of the lists.

        Returns:
            What was found.

        Raises:
            InputError: No effort reaches it, and that of the highest recall is kept; or the
                folder cannot be written.
        """
        num_videos = min(num_videos, len(self.corpus))
        _, expected = search_exactly(self.corpus, queries, num_videos)
        trials = []
        for candidates in _CANDIDATES:
            for lists in sorted({min(x, self.info.settings.num_lists) for x in _LISTS}):
                effort = Effort(lists, candidates, num_videos)
                trials.append(self._try(queries, expected, effort))
                if trials[-1].recall >= target_recall:
                    break
        reached = [trial for trial in trials if trial.recall >= target_recall]
        if reached:
            chosen = min(reached, key=lambda trial: trial.seconds)
        else:
            chosen = max(trials, key=lambda trial: trial.recall)
        tuned = Tuned(target_recall, chosen.recall, len(expected), num_videos)
        self.info = replace(self.info, effort=chosen.effort, tuned=tuned)
        write_info(self.folder, self.info)
        if not reached:
            raise InputError(
                f'{self.folder}: no effort finds {target_recall:.1%} of the videos of exact lists; '
                f'{chosen.recall:.1%} was the most, and is what is used now; ask for less, or '
                'build lists with a finer code'
            )
        return tuned

    def _use(self, info: ListsInfo) -> None:
        self.info = info
        names = [name for name in info.parts if name in self.corpus.parts]
        self._lists = {
            stream: MappedLists([self.folder / info.parts[name][stream].name for name in names])
            for stream in self._trained
            if names
        }
        self._most_clips = max(
            sum(info.parts[name][stream].num_clips for name in names) for stream in self._trained
        )
        self._listed_places = self.corpus.places_in(names)
        self._exact: list[tuple[ExactVideoSearch, Tensor]] | None = None
        self._names = names
        self._threads = ThreadPoolExecutor(len(self._trained))

    def _unlisted(self) -> Iterable[tuple[ExactVideoSearch, Tensor]]:
        # Not before a query: a build opens a corpus of which nothing is in lists yet.
        if len(self.corpus) - len(self._listed_places) > _MOST_KEPT:
            return _unlisted(self.corpus, self._names)
        if self._exact is None:
            self._exact = list(_unlisted(self.corpus, self._names))
        return self._exact

    def _search(
        self, queries: Mapping[str, Tensor], k: int, effort: Effort
    ) -> tuple[Tensor, Tensor]:
        units = {name: F.normalize(queries[name].cpu(), dim=1) for name in self._trained}
        k = min(k, len(self.corpus))
        found = []
        candidates = self._candidates(units, k, effort)
        for i, places in enumerate(candidates):
            unit = {name: x[i] for name, x in units.items()}
            scores = exact_scores(self.corpus, places, unit, self._threads.map)
            found.append((scores, places))
        for exact, first in self._unlisted():
            scores, places = exact.search(units, k)
            found = [
                (torch.cat([s, scores[i]]), torch.cat([p, first[places[i]]]))
                for i, (s, p) in enumerate(found)
            ]
        best = [scores.topk(k) for scores, _ in found]
        places = [p[x.indices] for x, (_, p) in zip(best, found, strict=True)]
        return torch.stack([x.values for x in best]), torch.stack(places)

    def _candidates(self, units: Mapping[str, Tensor], k: int, effort: Effort) -> list[Tensor]:
        """Places (V,) of the videos to score of each query, ascending, V ≥ min(k, all in lists)."""
        count = len(next(iter(units.values())))
        if not self._most_clips:
            return [torch.zeros(0, dtype=torch.long)] * count
        least = min(k, len(self._listed_places))
        # An effort finds less of shorter lists than of those that it is for.
        k = max(k, effort.num_videos)
        wanted, num_clips = round(k * effort.num_candidates), _CLIPS_A_VIDEO * k
        found = self._find_videos(units, wanted, num_clips, effort.num_lists)
        for i in range(count):
            if len(found[i]) < least:
                unit = {name: x[i : i + 1] for name, x in units.items()}
                found[i] = self._widen(unit, wanted, least, num_clips, effort.num_lists)
        return found

    def _widen(
        self, unit: Mapping[str, Tensor], wanted: int, least: int, num_clips: int, num_lists: int
    ) -> Tensor:
        """Look further for a query whose lists hold too few videos, or one that hides others."""
        while num_lists < self.info.settings.num_lists or num_clips < self._most_clips:
            num_clips, num_lists = 4 * num_clips, 4 * num_lists
            (found,) = self._find_videos(unit, wanted, num_clips, num_lists)
            if len(found) >= least:
                return found
        # The graph does not lead to all lists, as where centroids are equal.
        return self._listed_places

    def _find_videos(
        self, units: Mapping[str, Tensor], wanted: int, num_clips: int, num_lists: int
    ) -> list[Tensor]:
        find = partial(self._find, units, min(num_clips, self._most_clips), num_lists)
        streams = list(self._threads.map(find, self._trained))
        count = len(next(iter(units.values())))
        return [_best_by_found([x.of(i) for x in streams], wanted) for i in range(count)]

    def _find(
        self, units: Mapping[str, Tensor], num_clips: int, num_lists: int, stream: str
    ) -> '_Found':
        scores, ids = self._trained[stream].find(
            units[stream].numpy(), num_clips, num_lists, self._lists[stream]
        )
        return _Found(torch.from_numpy(scores), self.corpus.places_of(torch.from_numpy(ids)))

    def _try(self, queries: Mapping[str, Tensor], expected: Tensor, effort: Effort) -> '_Trial':
        begin = time.perf_counter()
        parts = [
            self._search({n: x[i : i + 1] for n, x in queries.items()}, expected.shape[1], effort)
            for i in range(len(expected))
        ]
        seconds = time.perf_counter() - begin
        recall = recall_of(torch.cat([places for _, places in parts]), expected)
        return _Trial(effort, recall, seconds)


class _Found(NamedTuple):
    """Clips found for queries: similarities (Q, M), and the places of their videos, −1: none."""

    scores: Tensor
    places: Tensor

    def of(self, query: int) -> '_Found':
        """Those of a query, without the absent ones."""
        there = self.places[query] >= 0
        return _Found(self.scores[query][there], self.places[query][there])


class _Trial(NamedTuple):
    """An effort, the recall that it reaches, and the seconds that it takes."""

    effort: Effort
    recall: float
    seconds: float


def recall_of(found: Tensor, expected: Tensor) -> float:
    """Compute the share of expected videos that were found.

    Args:
        found: Places (Q, K).
        expected: Places (Q, K).
    """
    return float((expected[:, :, None] == found[:, None, :]).any(2).double().mean())


def exact_scores(
    corpus: PartedCorpus,
    places: Tensor,
    units: Mapping[str, Tensor],
    each: Callable[..., Iterable[Tensor]] = map,
) -> Tensor:
    """Score some videos for a query in float32.

    Args:
        corpus: The videos.
        places: (V,) int64.
        units: Stream name to (d,), unit vectors.
        each: Calls a function for each stream, as ``map`` does.

    Returns:
        (V,), the mean over streams of the largest cosine over a video's clips.
    """

    def largest(stream: str) -> Tensor:
        rows, owner = corpus.retrieval_rows(places, stream)
        cosines = (rows @ units[stream]) * inverse_norm(rows)
        return torch.full((len(places),), -torch.inf).scatter_reduce_(0, owner, cosines, 'amax')

    return sum(each(largest, units)) / len(units)


def search_exactly(
    corpus: PartedCorpus, queries: Mapping[str, Tensor], k: int
) -> tuple[Tensor, Tensor]:
    """Find the best videos by scoring all, part by part; see :meth:`VideoSearch.search`."""
    units = {name: F.normalize(queries[name].cpu(), dim=1) for name in corpus.streams}
    scores, places = [], []
    for search, first in _unlisted(corpus, ()):
        found, at = search.search(units, k)
        scores.append(found)
        places.append(first[at])
    best, chosen = torch.cat(scores, 1).topk(min(k, len(corpus)), dim=1)
    return best, torch.cat(places, 1).gather(1, chosen)


def _unlisted(
    corpus: PartedCorpus, listed: Collection[str]
) -> Iterator[tuple[ExactVideoSearch, Tensor]]:
    """Yield searches of the parts that have no lists, some videos each, and their places (n,)."""
    others = corpus.places_in([name for name in corpus.parts if name not in listed])
    for places in others.split(_VIDEOS_AT_ONCE):
        if len(places):
            yield ExactVideoSearch(corpus.read(places, ('retrieval',))), places


def _best_by_found(streams: Sequence[_Found], count: int) -> Tensor:
    """Places (V,) of the ``count`` videos that may be best by what was found, ascending.

    A video of which a stream found nothing is taken to have there what was found last.
    """
    every = torch.cat([found.places for found in streams]).unique()
    total = torch.zeros(len(every))
    for scores, places in streams:
        last = float(scores.min()) if len(scores) else 0.0
        at = torch.searchsorted(every, places)
        total += torch.full_like(total, last).scatter_reduce_(0, at, scores, 'amax')
    return every[total.topk(min(count, len(every))).indices].sort().values


def _clips(
    corpus: EncodedCorpus, stream: str, least_cosine: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield unit vectors of the clips that are stored, and the ids of their videos."""
    ids = corpus.video_ids
    for places in torch.arange(len(corpus)).split(_VIDEOS_AT_ONCE):
        layout = corpus.layout.chosen(places)
        first = int(corpus.layout.first_rows[places[0]])
        rows = corpus.rows['retrieval'][stream][first : first + layout.num_rows].float()
        units = F.normalize(rows, dim=1)
        owner = places.repeat_interleave(layout.rows_of_each)
        kept = begins_of_runs(units, layout, least_cosine)
        kept &= layout.positions < layout.lengths.repeat_interleave(layout.rows_of_each)
        yield units[kept], ids[owner[kept]]


def _choose_settings(corpus: PartedCorpus) -> ListSettings:
    """Choose by how many clips would be stored, estimated on some videos."""
    videos, same = _some(corpus, min(len(corpus), _VIDEOS_AT_ONCE)), ListSettings(1).same
    # Every stream needs as many clips to train on as there are lists.
    stored = min(sum(len(x) for x, _ in _clips(videos, name, same)) for name in corpus.streams)
    total = int(corpus.num_clips.sum())
    return ListSettings.choose(stored * total // int(videos.layout.lengths.sum()), _width(corpus))


def _sample(corpus: PartedCorpus, stream: str, settings: ListSettings) -> np.ndarray:
    """Read clips (T, d) to train on, of videos from all over a corpus."""
    wanted, found = max(CLIPS_A_LIST * settings.num_lists, _LEAST_TO_TRAIN), []
    for places in _shuffled(corpus).split(_VIDEOS_AT_ONCE):
        videos, _ = corpus.take(places.sort().values)
        found += [x for x, _ in _clips(videos, stream, settings.same)]
        if sum(map(len, found)) >= wanted:
            break
    return torch.cat(found)[:wanted].numpy()


def _some(corpus: PartedCorpus, count: int) -> EncodedCorpus:
    return corpus.take(_shuffled(corpus)[:count].sort().values)[0]


def _shuffled(corpus: PartedCorpus) -> Tensor:
    return torch.randperm(len(corpus), generator=torch.Generator().manual_seed(0))


def _width(corpus: PartedCorpus) -> int:
    part = next(iter(corpus.parts.values()))
    (width,) = {x.shape[1] for x in part.corpus.rows['retrieval'].values()}
    return width


def _check_kind(corpus: PartedCorpus, folder: Path, info: ListsInfo) -> None:
    found, expected = (tuple(info.trained), info.width), (corpus.streams, _width(corpus))
    if found != expected:
        raise InputError(
            f'{folder}: lists of the streams {", ".join(found[0])} of width {found[1]}, expected '
            f'{", ".join(expected[0])} of width {expected[1]}; remove the folder and build the '
            'search again'
        )
