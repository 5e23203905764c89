"""From a sentence to the moments of videos, wherever these are."""

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.indexing.hits import Hits, WindowProbabilities
from reloclnet_mm.indexing.records import Origin, VideoRecord, difference
from reloclnet_mm.indexing.searched import Searched
from reloclnet_mm.indexing.store import unknown_video
from reloclnet_mm.models.corpus_model import CorpusModel
from reloclnet_mm.models.two_stage import TwoStageRetriever
from reloclnet_mm.structures import MomentDataSample

# Queries that pass through the model together.
_QUERIES_AT_ONCE = 256
_MAX_CHARACTERS = 10_000


class Ranked(NamedTuple):
    """Queries with their lists, and their vectors of the first stage, stream name to (Q, d)."""

    samples: list[MomentDataSample]
    queries: dict[str, Tensor]
    searched: Searched


class QueryInferencer(BaseInferencer):
    """Finds moments of videos from sentences; the base of what searches own videos.

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
        self._clip_data = dataset_of(self.cfg, 'test_corpus_dataloader')
        check_recipe(self.cfg, self.recipe, self._clip_data)
        self._most_videos = self.model.ranking.num_videos
        self._weights = self.model.checksum()

    @property
    def videos(self) -> tuple[VideoRecord, ...]:
        """Records of the videos, by name."""
        found = self._records()
        return tuple(found[name] for name in sorted(found))

    @abstractmethod
    def searched(self, videos: Iterable[str] | None) -> Searched:
        """Return what is searched, ready for queries.

        Args:
            videos: Names of the videos; None: all.

        Raises:
            InputError: A video is not in the index, or there is none.
        """

    @abstractmethod
    def sentences(self, video: str) -> list[TimedSentence]:
        """Return what is said in a video.

        Args:
            video: Its name.

        Raises:
            InputError: The index has no such video.
        """

    @property
    def origin(self) -> Origin:
        """What indexes are made by with this model, recipe and windows."""
        return self._origin(self.recipe.identity())

    @abstractmethod
    def _records(self) -> Mapping[str, VideoRecord]:
        """Return the records of the videos by name."""

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
        searched = self.searched([videos] if isinstance(videos, str) else videos)
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
    def forward(self, inputs: dict[str, Any], searched: Searched) -> Ranked:
        """Rank the moments of a batch of queries.

        Args:
            inputs: Of :meth:`preprocess`.
            searched: What is searched.
        """
        batch = self.model.data_preprocessor(inputs)
        queries = self.model.encode_query(batch['inputs'])
        samples = self.model.predict(batch['inputs'], batch['data_samples'], searched.ready)
        return Ranked(samples, queries, searched)

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
            if not hits:  # no shard that has some of the best windows answered
                continue
            best = hits[0]
            shown = self.timeline(text, best.video, around=(best.start + best.end) / 2)
            path, record = Path(out_dir, f'{number:04}.png'), self._record(best.video)
            save_answer(path, hits, record.duration, record.has_video, shown)
            drawn.append(path)
        return drawn

    def postprocess(
        self, preds: Ranked, visualization: None = None, *, top_k: int = 10
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
        index = self.searched(None).ready
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

    def check_origin(self, found: Origin, where: Path | None, *, whole: bool) -> None:
        """Refuse an index of other weights or another recipe.

        Args:
            found: What made the index.
            where: Its folder.
            whole: Whether to compare all extractors, whose weights are then read, or only what
                queries need.

        Raises:
            InputError: It was made otherwise.
        """
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
                    f'{where}: was made otherwise: {differing}; open it with the model, weights '
                    'and extractors that made it, or index the videos again'
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
        found = self._records()
        if name not in found:
            raise unknown_video(name, found)
        return found[name]

    def _rank(self, num_windows: int) -> None:
        self.model.ranking = replace(self.model.ranking, num_videos=num_windows)

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

    def _origin(self, recipe: dict[str, Any]) -> Origin:
        return Origin(self._name, self._weights, recipe, *self.windows)


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
