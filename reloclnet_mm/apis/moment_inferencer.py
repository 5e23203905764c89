"""From own videos and a sentence to the moment."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.infer import BaseInferencer
from torch import Tensor

from reloclnet_mm.apis.inference import init_model
from reloclnet_mm.apis.inferencer_config import (
    check_recipe,
    dataset_of,
    recipe_of,
    windows_of,
)
from reloclnet_mm.apis.shipped import find_model
from reloclnet_mm.datasets.packing import pack_loaded
from reloclnet_mm.errors import InputError, QueryError
from reloclnet_mm.extraction.own_videos import find_videos
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.indexing.adding import AddReport, VideoAdder
from reloclnet_mm.indexing.hits import Hits, WindowProbabilities
from reloclnet_mm.indexing.null_queries import null_queries
from reloclnet_mm.indexing.records import Origin, VideoRecord, difference
from reloclnet_mm.indexing.searched import Searched
from reloclnet_mm.indexing.store import Corpus, VideoIndex, unknown_video
from reloclnet_mm.models.corpus_model import CorpusModel
from reloclnet_mm.models.two_stage import TwoStageRetriever
from reloclnet_mm.registry import INFERENCERS
from reloclnet_mm.structures import MomentDataSample
from reloclnet_mm.utils.progress import counted

# Queries that pass through the model together.
_QUERIES_AT_ONCE = 256
_MAX_CHARACTERS = 10_000

Paths = str | os.PathLike | Iterable[str | os.PathLike]


class _Ranked(NamedTuple):
    """Queries with their lists, and their vectors of the first stage, stream name to (Q, d)."""

    samples: list[MomentDataSample]
    queries: dict[str, Tensor]
    searched: Searched


@INFERENCERS.register_module()
class MomentInferencer(BaseInferencer):
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
        cfg, weights, self._name = find_model(model, weights)
        if weights is None:
            raise InputError(
                f'{cfg.filename}: no weights; give the checkpoint that was trained with this config'
            )
        super().__init__(cfg, weights, device, 'reloclnet_mm', show_progress)
        self._device = next(self.model.parameters()).device
        self.recipe = recipe_of(self.cfg, str(self._device))
        self.windows = windows_of(self.cfg)
        self._query_data = dataset_of(self.cfg, 'test_dataloader')
        clip_data = dataset_of(self.cfg, 'test_corpus_dataloader')
        check_recipe(self.cfg, self.recipe, clip_data)
        self.adder = VideoAdder(self.model, self.recipe, clip_data, self.windows)
        self._most_videos = self.model.ranking.num_videos
        self._weights = self.model.checksum()
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
        self._check_origin(index, whole=False)
        self._index, self._is_checked = index, False
        self._refresh()

    @property
    def videos(self) -> tuple[VideoRecord, ...]:
        """Records of the videos, by name."""
        found = {} if self._index is None else self._index.videos
        return tuple(found[name] for name in sorted(found))

    def add(
        self,
        paths: Paths,
        *,
        save_to: str | os.PathLike | None = None,
        save_every: float = 60.0,
    ) -> AddReport:
        """Add videos; those that are in the index and have not changed are passed over.

        A file that cannot be used does not stop the others.

        Args:
            paths: Files and folders, which are searched for media files, and for subtitles without
                one.
            save_to: Folder in which the index is saved on the way and in the end, so that a run
                that was stopped goes on; None: it is not saved.
            save_every: Seconds from one time to the next.

        Raises:
            InputError: There is no video, other weights or another recipe made the index, or it
                cannot be saved.
        """
        files = find_videos([paths] if isinstance(paths, str | os.PathLike) else list(paths))
        index = self._index_to_change()
        if save_to is not None:
            index.check_target(save_to)
        shown = counted(len(files), 'videos') if self.show_progress else nullcontext(_ignore)
        try:
            with shown as advance:
                report = self.adder.add(
                    index, files, save_to=save_to, save_every=save_every, advance=advance
                )
        finally:
            self._finish_change()
        if save_to is not None:
            index.save(save_to)
        return report

    def update(self) -> AddReport:
        """Make again what was made of files that have changed.

        Videos whose files are gone stay in the index and are reported as failed.
        """
        there, gone = [], {}
        for record in self.videos:
            if Path(record.path).is_file():
                there.append(record.path)
            else:
                gone[record.path] = f'{record.path}: no such file any more; remove {record.name!r}'
        report = self.add(there) if there else AddReport()
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
        self._index_to_change().save(folder)

    def __call__(
        self,
        inputs: str | Sequence[str],
        top_k: int = 10,
        *,
        videos: str | Iterable[str] | None = None,
        rerank: int | None = None,
        visualize: bool = False,
        out_dir: str | os.PathLike | None = None,
        batch_size: int = _QUERIES_AT_ONCE,
    ) -> Hits | list[Hits]:
        """Find moments.

        Args:
            inputs: A sentence, or several.
            top_k: Moments of each.
            videos: Names of the videos to search; None: all.
            rerank: Windows that the second stage of a model of two stages re-ranks; None: as many
                as the config says.
            visualize: Whether to draw a picture for each sentence, which needs matplotlib.
            out_dir: Folder of the pictures.
            batch_size: Sentences that pass through the model together.

        Returns:
            The moments of a sentence, best first; of several a list of them.

        Raises:
            InputError: A sentence is empty or too long, a video is not in the index, or there is
                none.
        """
        for name, count in (('top_k', top_k), ('batch_size', batch_size)):
            if count < 1:
                raise InputError(f'{name}={count}, expected at least 1')
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        searched = self._searched([videos] if isinstance(videos, str) else videos)
        with self._reranking(rerank):
            found = [
                hits
                for batch in self.preprocess(texts, batch_size)
                for hits in self.postprocess(self.forward(batch, searched), top_k=top_k)
            ]
        if visualize:
            self.visualize(texts, found, out_dir=out_dir)
        return found[0] if isinstance(inputs, str) else found

    def preprocess(self, inputs: Sequence[str], batch_size: int = 1) -> Iterator[dict[str, Any]]:
        """Make batches of queries.

        Args:
            inputs: Sentences.
            batch_size: Of a batch.

        Raises:
            InputError: A sentence is empty or too long.
        """
        texts = [checked_query(text) for text in inputs]
        for begin in range(0, len(texts), batch_size):
            batch = texts[begin : begin + batch_size]
            tokens = self.recipe.encode_queries(batch)
            records = (
                dict(query_id=number, query=text, query_tokens=rows)
                for number, (text, rows) in enumerate(zip(batch, tokens, strict=True), start=begin)
            )
            yield pseudo_collate([pack_loaded(self._query_data, record) for record in records])

    @torch.no_grad()
    def encode_queries(self, inputs: Sequence[str]) -> dict[str, Tensor]:
        """Encode queries as the search for videos takes them.

        Args:
            inputs: Sentences.

        Returns:
            Stream name to (Q, d), of the first stage.

        Raises:
            InputError: A sentence is empty or too long, or there is none.
        """
        if not inputs:
            raise InputError('no query, expected a sentence')
        parts = [
            self.model.encode_query(self.model.data_preprocessor(batch)['inputs'])
            for batch in self.preprocess(inputs, _QUERIES_AT_ONCE)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    @torch.no_grad()
    def forward(self, inputs: dict[str, Any], searched: Searched) -> _Ranked:
        """Rank the moments of a batch of queries.

        Args:
            inputs: Of :meth:`preprocess`.
            searched: What is searched.
        """
        batch = self.model.data_preprocessor(inputs)
        queries = self.model.encode_query(batch['inputs'])
        samples = self.model.predict(batch['inputs'], batch['data_samples'], searched.ready)
        return _Ranked(samples, queries, searched)

    def visualize(
        self, inputs: Sequence[str], preds: Sequence[Hits], *, out_dir: str | os.PathLike | None
    ) -> list[Path]:
        """Draw a picture for each sentence: its best moments, and where in a window they are.

        Args:
            inputs: Sentences.
            preds: The moments of each.
            out_dir: Folder of the pictures.

        Returns:
            The files that were written.

        Raises:
            InputError: There is no folder given, or it cannot be written.
        """
        from reloclnet_mm.visualization.answers import save_answer

        if out_dir is None:
            raise InputError('visualize=True: no out_dir; say into which folder pictures are put')
        drawn = []
        for number, (text, hits) in enumerate(zip(inputs, preds, strict=True)):
            best = hits[0]
            shown = self.timeline(text, best.video, around=(best.start + best.end) / 2)
            path, record = Path(out_dir, f'{number:04}.png'), self._record(best.video)
            save_answer(path, hits, record.duration, record.has_video, shown)
            drawn.append(path)
        return drawn

    def postprocess(
        self, preds: _Ranked, visualization: None = None, *, top_k: int = 10
    ) -> list[Hits]:
        """Make hits of ranked lists.

        Args:
            preds: Of :meth:`forward`.
            visualization: Nothing; pictures are drawn of hits.
            top_k: Moments of each query.
        """
        return [
            preds.searched.hits(sample, {name: x[i] for name, x in preds.queries.items()}, top_k)
            for i, sample in enumerate(preds.samples)
        ]

    def sentences(self, video: str) -> list[TimedSentence]:
        """Return what is said in a video.

        Args:
            video: Its name.

        Raises:
            InputError: The index has no such video.
        """
        return self._index.sentences(self._record(video).name)

    @torch.no_grad()
    def timeline(self, query: str, video: str, around: float) -> WindowProbabilities:
        """Compute where in a window of a video the moment begins and ends.

        Args:
            query: A sentence.
            video: Name of the video.
            around: A second; the window is that whose middle is nearest to it.

        Raises:
            InputError: The query cannot be used, or the index has no such video.
        """
        record = self._record(video)
        half = self.windows.clips * self.recipe.clip_length / 2
        distances = [abs(start + half - around) for start in record.starts]
        number = distances.index(min(distances))
        index = self._searched(None).ready
        (batch,) = self.preprocess([query], 1)
        inputs = self.model.data_preprocessor(batch)['inputs']
        place = index.corpus.place_of(record.first_window + number)
        found = self.model.span_probabilities(inputs, torch.tensor([place]), index)
        start, end, mask = (x[0].cpu() for x in found)
        return WindowProbabilities(
            start=record.starts[number],
            clip_seconds=float(index.corpus.seconds_per_clip[place]),
            begins=start[mask].tolist(),
            ends=end[mask].tolist(),
        )

    def _init_model(self, cfg: Config, weights: str, device: str) -> CorpusModel:
        model = init_model(cfg, weights, device)
        model.ranking = replace(model.ranking, tasks=('VR', 'VCMR'))
        return model

    def _init_pipeline(self, cfg: Config) -> None:
        """Return None: queries pass through the pipeline of the data set."""

    def _init_collate(self, cfg: Config) -> Any:
        return pseudo_collate

    def _init_visualizer(self, cfg: Config) -> None:
        """Return None: pictures are drawn of hits, not by the visualizer of a training."""

    def _record(self, name: str) -> VideoRecord:
        found = {} if self._index is None else self._index.videos
        if name not in found:
            raise unknown_video(name, found)
        return found[name]

    def empty_index(self) -> VideoIndex:
        """Make an index without videos."""
        return VideoIndex(self._origin(self.recipe.identity()))

    def _index_to_change(self) -> VideoIndex:
        """Return the index, which may be added to: all extractors are those that made it."""
        if self._index is None:
            self._index = self.empty_index()
        elif not self._is_checked:
            self._check_origin(self._index, whole=True)
        self._is_checked = True
        return self._index

    def _origin(self, recipe: dict[str, Any]) -> Origin:
        return Origin(self._name, self._weights, recipe, *self.windows)

    def _check_origin(self, index: VideoIndex, *, whole: bool) -> None:
        """Refuse an index of other weights or another recipe.

        Args:
            index: The index.
            whole: Whether to compare all extractors, whose weights are then read, or only what
                queries need.
        """
        found = index.origin
        if whole:
            recipe = self.recipe.identity()
        else:
            needed = dict(clip_length=self.recipe.clip_length, query=self.recipe.query.identity())
            recipe = found.recipe | needed
        expected = self._origin(recipe)
        for name in ('weights', 'window_clips', 'window_stride', 'recipe'):
            differing = difference(getattr(found, name), getattr(expected, name), name)
            if differing:
                raise InputError(
                    f'{index.folder}: was made otherwise: {differing}; open it with the model, '
                    'weights and extractors that made it, or index the videos again'
                )

    def _finish_change(self) -> None:
        self._refresh()
        if self._everything is not None and self._index.null_scores is None:
            self._index.null_scores = self._measure_nulls()
            self._everything = replace(self._everything, null_scores=self._index.null_scores)

    def _refresh(self) -> None:
        """Make the whole index ready for queries."""
        self._last = None
        corpus, nulls = self._index.corpus(), self._index.null_scores
        self._everything = None if corpus is None else self._make_ready(corpus, nulls)

    def _make_ready(self, corpus: Corpus, null_scores: list[float] | None) -> Searched:
        self._rank(min(self._most_videos, len(corpus)))
        ready = self.model.index_corpus(corpus.to(self._device))
        # Of two stages the first one ranks all windows.
        first = getattr(ready, 'first', ready)
        language = self.recipe.language
        owners, sentences = self._index.owners(), self._index.sentences
        return Searched(ready, first, owners, sentences, language, null_scores)

    def _rank(self, num_windows: int) -> None:
        self.model.ranking = replace(self.model.ranking, num_videos=num_windows)

    def _searched(self, videos: Iterable[str] | None) -> Searched:
        """Return what is searched, all videos or some."""
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
            some = self._index.corpus().select_ids(windows)
            self._last = names, self._make_ready(some, None)
        return self._last[1]

    @contextmanager
    def _reranking(self, count: int | None) -> Iterator[None]:
        """Let the second stage re-rank so many windows; None: as the config says."""
        if count is None:
            yield
            return
        if not isinstance(self.model, TwoStageRetriever):
            raise InputError(
                f'rerank={count}: {type(self.model).__name__} has no second stage; give the '
                'config of a TwoStageRetriever'
            )
        if count < 1:
            raise InputError(f'rerank={count}, expected at least 1')
        usual, self.model.num_videos = self.model.num_videos, count
        try:
            yield
        finally:
            self.model.num_videos = usual

    def _measure_nulls(self) -> list[float]:
        """Return the best score of each query about other things, ascending."""
        queries = self.encode_queries(null_queries())
        return sorted(self._everything.best_scores(queries))


def checked_query(text: str) -> str:
    """Return a query without blanks around it.

    Args:
        text: The query.

    Raises:
        QueryError: It is empty or too long.
    """
    if not isinstance(text, str) or not text.strip():
        raise QueryError(f'query {text!r}: expected a sentence')
    if len(text) > _MAX_CHARACTERS:
        raise QueryError(
            f'query of {len(text):,} characters, expected at most {_MAX_CHARACTERS:,}; the encoder '
            'reads the first few dozen words'
        )
    return text.strip()


def _ignore(count: int) -> None:
    """Show nothing."""
