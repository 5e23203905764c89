"""From own videos and a sentence to the moment."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config

from reloclnet_mm.apis.query_inferencer import QueryInferencer
from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.own_videos import find_videos
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.indexing.adding import AddReport, VideoAdder
from reloclnet_mm.indexing.null_queries import null_queries
from reloclnet_mm.indexing.records import VideoRecord
from reloclnet_mm.indexing.searched import Searched, owners_of
from reloclnet_mm.indexing.store import Corpus, VideoIndex, locked
from reloclnet_mm.models.two_stage import TwoStageIndex
from reloclnet_mm.registry import INFERENCERS
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.utils.progress import counted

if TYPE_CHECKING:
    from reloclnet_mm.retrieval.inverted_lists import ListSettings, Tuned

Paths = str | os.PathLike | Iterable[str | os.PathLike]


@INFERENCERS.register_module()
class MomentInferencer(QueryInferencer):
    """Finds moments of own videos from sentences.

    The config has, beside the model and its test pipelines, ``recipe``, how features are made, and
    ``windows``, how long videos are divided.

    Args:
        model: Name of a model that comes with the package, a config or its file.
        weights: Weights of another model; None: those that come with the package.
        device: Device of model and extractors; None: a GPU if there is one.
        show_progress: Whether to show on standard error how far a long computation is.

    Raises:
        InputError: The config has no recipe, or one that its pipelines do not go with, or there
            are no weights.
    """

    def __init__(
        self,
        model: str | Path | Config,
        weights: str | Path | None = None,
        device: str | None = None,
        *,
        show_progress: bool = True,
    ) -> None:
        super().__init__(model, weights, device, show_progress=show_progress)
        self.adder = VideoAdder(self.model, self.recipe, self._clip_data, self.windows)
        self._index: VideoIndex | None = None
        self._is_checked = False
        self._everything: Searched | None = None
        self._last: tuple[frozenset[str], Searched] | None = None

    @staticmethod
    def from_index(
        folder: str | os.PathLike,
        model: str | Path | Config | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        *,
        show_progress: bool = True,
    ) -> 'MomentInferencer':
        """Open an index.

        Args:
            folder: Folder of the index.
            model: Config of the model that made it; None: one that comes with the package.
            weights: Its weights.
            device: As for the class.
            show_progress: As for the class.

        Raises:
            InputError: The index cannot be used, or something else made it than what is given.
        """
        index = VideoIndex.load(folder)
        if model is None and index.origin.model is None:
            raise InputError(
                f'{folder}: made by a model that does not come with the package; give its config '
                'and weights'
            )
        inferencer = MomentInferencer(
            model or index.origin.model, weights, device, show_progress=show_progress
        )
        inferencer.use(index)
        return inferencer

    def use(self, index: VideoIndex) -> None:
        """Search an index that is in memory, and add to it.

        Args:
            index: The index.

        Raises:
            InputError: Something else made it than this model and recipe.
        """
        self.check_origin(index.origin, index.folder, whole=False)
        self._index, self._is_checked = index, False
        self._refresh()

    @property
    def index(self) -> VideoIndex | None:
        """The index that is searched; None: there is none yet."""
        return self._index

    def add(
        self,
        paths: Paths,
        *,
        save_to: str | os.PathLike | None = None,
        save_every: float = 60.0,
        names: Mapping[str, str] | None = None,
        advance: Callable[[int], object] | None = None,
    ) -> AddReport:
        """Add videos; those that are in the index and have not changed are passed over.

        A file that cannot be used does not stop the others.

        Args:
            paths: Files and folders, which are searched for media files, and for subtitles without
                one.
            save_to: Folder in which the index is saved on the way and in the end, so that a run
                that was stopped goes on; None: it is not saved.
            save_every: Seconds from one time to the next.
            names: Names of new videos by path; None or not there: made of the path.
            advance: Called with the number of files done since the last call; None: it is shown
                on standard error, if ``show_progress``.

        Raises:
            InputError: There is no video, other weights or another recipe made the index, or it
                cannot be saved.
        """
        files = find_videos([paths] if isinstance(paths, str | os.PathLike) else list(paths))
        index = self._index_to_change()
        if save_to is not None:
            index.check_target(save_to)
        shown = nullcontext(advance) if advance else self._shown(len(files), 'videos')
        try:
            with shown as advance_shown:
                report = self.adder.add(
                    index,
                    files,
                    save_to=save_to,
                    save_every=save_every,
                    names=names or {},
                    advance=advance_shown,
                )
        finally:
            self._finish_change()
        if save_to is not None:
            self._save(save_to)
        return report

    def update(
        self,
        *,
        save_to: str | os.PathLike | None = None,
        advance: Callable[[int], object] | None = None,
    ) -> AddReport:
        """Make again what was made of files that have changed.

        Videos whose files are gone stay in the index and are reported as failed.

        Args:
            save_to: As for :meth:`add`.
            advance: As for :meth:`add`.

        Raises:
            InputError: As for :meth:`add`.
        """
        there, gone = [], {}
        for record in self.videos:
            if Path(record.path).is_file():
                there.append(record.path)
            else:
                gone[record.path] = f'{record.path}: no such file any more; remove {record.name!r}'
        report = AddReport()
        if there:
            report = self.add(there, save_to=save_to, advance=advance)
        report.failed |= gone
        return report

    def remove(self, names: str | Iterable[str]) -> None:
        """Remove videos.

        Args:
            names: Their names.

        Raises:
            InputError: The index has no such video; then none is removed.
        """
        names = [*dict.fromkeys([names] if isinstance(names, str) else names)]
        for name in names:
            self._record(name)
        for name in names:
            self._index.remove(name)
        if names:
            self._finish_change()

    def save(self, folder: str | os.PathLike) -> None:
        """Write the index; see :meth:`VideoIndex.save`.

        Args:
            folder: Folder of the index, that it was read from or a new one.

        Raises:
            InputError: It cannot be written there.
        """
        self._index_to_change()
        self._save(folder)

    def store_float16(self) -> None:
        """Round encoded windows to float16 when they are saved: half of the bytes.

        Raises:
            InputError: The index has windows in float32 already.
        """
        index = self._index_to_change()
        if index.videos and not index.float16:
            raise InputError(
                f'{index.folder}: keeps windows in float32 already; make a new index for float16'
            )
        index.float16 = True

    def build_lists(
        self,
        *,
        target_recall: float = 0.99,
        queries: Sequence[str] | None = None,
        settings: 'ListSettings | None' = None,
    ) -> 'Tuned':
        """Put the clips of the saved index into inverted lists, and search by these from now on.

        An index that is saved later keeps them up to date. It is for indexes of a hundred thousand
        windows and more; below that, scoring all is as fast.

        Args:
            target_recall: How much of the best videos of an exact search is to be found.
            queries: Sentences by which it is measured how much must be looked at for that; None:
                the queries about other things that come with the package.
            settings: How clips are stored; None: those of lists that are there, or by size.

        Returns:
            What was found.

        Raises:
            InputError: The index is not saved, faiss is not installed, the model has two stages, or
                the recall is not reached.
        """
        from reloclnet_mm.retrieval.faiss_search import FaissVideoSearch

        index = self._index
        if index is None or index.folder is None or index.has_changes or not index.videos:
            raise InputError(
                'the index is not saved, or has no video; add videos and save it before its lists '
                'are built'
            )
        corpus = index.parts()
        with locked(index.folder), self._shown(len(corpus), 'windows') as advance:
            index.check_target(index.folder)
            search = FaissVideoSearch.build(corpus, index.lists_folder, settings, advance=advance)
            vectors = self.encode_queries(queries or null_queries())
            tuned = search.tune(vectors, target_recall, self._most_videos)
        self._refresh()
        return tuned

    def sentences(self, video: str) -> list[TimedSentence]:
        """Return what is said in a video; see :meth:`QueryInferencer.sentences`."""
        return self._index.sentences(self._record(video).name)

    def _records(self) -> Mapping[str, VideoRecord]:
        return {} if self._index is None else self._index.videos

    def empty_index(self) -> VideoIndex:
        """Make an index without videos."""
        return VideoIndex(self.origin)

    def _index_to_change(self) -> VideoIndex:
        """Return the index, which may be added to: all extractors are those that made it."""
        if self._index is None:
            self._index = self.empty_index()
        elif not self._is_checked:
            self.check_origin(self._index.origin, self._index.folder, whole=True)
        self._is_checked = True
        return self._index

    def _finish_change(self) -> None:
        self._refresh()
        if self._everything is not None and self._index.null_scores is None:
            self._index.null_scores = self._measure_nulls()
            self._everything = replace(self._everything, null_scores=self._index.null_scores)

    def _refresh(self) -> None:
        """Make the whole index ready for queries."""
        self._last = None
        nulls = self._index.null_scores
        if self._index.has_lists and self._index.videos:
            self._everything = self._searched(self._open_lists(), nulls)
            return
        corpus = self._index.corpus()
        self._everything = None if corpus is None else self._make_ready(corpus, nulls)

    def _save(self, folder: str | os.PathLike) -> None:
        """Save the index, and bring its lists up to date."""
        self._index.save(folder, then=self._update_lists)
        if self._index.has_lists:
            self._refresh()

    def _update_lists(self) -> None:
        index = self._index
        if index.has_lists and index.videos:
            from reloclnet_mm.retrieval.faiss_search import FaissVideoSearch

            FaissVideoSearch.build(index.parts(), index.lists_folder)

    def _open_lists(self) -> CorpusIndex:
        """Make the whole index ready for queries by its inverted lists."""
        from reloclnet_mm.retrieval.faiss_search import FaissVideoSearch

        corpus = self._index.parts()
        self._rank(min(self._most_videos, len(corpus)))
        videos = FaissVideoSearch.open(corpus, self._index.lists_folder)
        return self.model.index_parts(corpus, videos)

    def _make_ready(self, corpus: Corpus, null_scores: list[float] | None) -> Searched:
        self._rank(min(self._most_videos, len(corpus)))
        return self._searched(self.model.index_corpus(corpus.to(self._device)), null_scores)

    def _searched(
        self, ready: CorpusIndex | TwoStageIndex, null_scores: list[float] | None
    ) -> Searched:
        owners = owners_of(self._index.videos.values())
        # Of two stages the first one ranks all windows.
        first = getattr(ready, 'first', ready)
        language = self.recipe.language
        return Searched(ready, first, owners, self._sentences_of, language, null_scores)

    def _shown(self, total: int, unit: str) -> AbstractContextManager[Callable[[int], object]]:
        """Show how far a computation is, if ``show_progress``."""
        return counted(total, unit) if self.show_progress else nullcontext(_ignore)

    def _sentences_of(self, videos: Iterable[str]) -> dict[str, list[TimedSentence]]:
        return {video: self._index.sentences(video) for video in videos}

    def searched(self, videos: Iterable[str] | None) -> Searched:
        """Return what is searched; see :meth:`QueryInferencer.searched`."""
        if self._everything is None:
            raise InputError('the index has no video; add some first')
        searched = self._everything
        if videos is not None:
            searched = self._some(frozenset(videos))
        self._rank(min(self._most_videos, len(searched.first.corpus)))
        return searched

    def _some(self, names: frozenset[str]) -> Searched:
        """Return some videos, ready for queries; those of the last call are kept."""
        if not names:
            raise InputError('videos is empty, expected names of videos, or None for all')
        windows = {window for name in names for window in self._record(name).windows}
        if self._last is None or self._last[0] != names:
            # How well other queries score depends on what is searched.
            corpus = self._index.parts() if self._index.has_lists else self._index.corpus()
            some = corpus.select_ids(windows)
            self._last = names, self._make_ready(some, None)
        return self._last[1]

    def _measure_nulls(self) -> list[float]:
        """Return the best score of each query about other things, in their order."""
        return self._everything.first.best_scores(self.encode_queries(null_queries()))


def _ignore(count: int) -> None:
    """Show nothing."""
