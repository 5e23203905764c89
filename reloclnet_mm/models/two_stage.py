"""A first stage that searches a corpus and a second one that re-ranks what it finds."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.corpus_model import CorpusModel
from reloclnet_mm.models.data_preprocessors.stages import StagedDataPreprocessor
from reloclnet_mm.models.second_stage import SecondStage
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.moment_search import RankedMoments
from reloclnet_mm.retrieval.pair_index import PairIndex
from reloclnet_mm.retrieval.pair_scores import PairScores
from reloclnet_mm.retrieval.reranking import (
    best_moments,
    moment_probabilities,
    put_first,
    rank_moments,
)
from reloclnet_mm.retrieval.results import RankedLists, add_predictions, own_places
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample, PackedRows, RowLayout
from reloclnet_mm.structures.corpus import RowSets
from reloclnet_mm.structures.staged_corpus import StagedCorpus
from reloclnet_mm.utils.checks import check_count


@dataclass(frozen=True)
class TwoStageIndex:
    """A corpus ready for queries in both stages.

    Attributes:
        first: Videos and rows of the first stage.
        second: Videos and rows of the second stage.
    """

    first: CorpusIndex
    second: PairIndex

    @property
    def corpus(self) -> EncodedCorpus:
        """All videos, with the clips in which moments are answered."""
        return self.second.corpus

    @property
    def device(self) -> torch.device:
        """Device on which queries are ranked."""
        return self.second.device


@MODELS.register_module()
class TwoStageRetriever(CorpusModel):
    """Lets a second stage re-rank the best videos of any first stage.

    Videos are those of the first stage. Moments are searched for in the first ``num_videos`` of
    them, by the :data:`~reloclnet_mm.models.second_stage.Scoring` of the second stage: with
    ``general`` the weight of a video is exp(alpha · (s − best s of the query)), where s is its
    score in the first stage, and the order of videos stays; with ``exclusive`` videos are ordered
    by their score in the second stage, with ``disjoint`` by their best moment, and those that were
    not re-ranked follow.

    Training trains the second stage; the weights of the first stay as they are. They come from its
    ``init_cfg``, such as ``dict(type='Pretrained', checkpoint='first.pth')``, and are saved with
    those of the second.

    Args:
        first_stage: Config of a :class:`~reloclnet_mm.models.CorpusModel`.
        second_stage: Config of a :class:`~reloclnet_mm.models.SecondStage`.
        num_videos: How many videos are re-ranked for each query.
        test_cfg: Fields of :class:`~reloclnet_mm.retrieval.results.RankingOptions`.
        init_cfg: Passed to mmengine's BaseModel.
    """

    def __init__(
        self,
        *,
        first_stage: dict,
        second_stage: dict,
        num_videos: int = 10,
        test_cfg: Mapping[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        check_count('TwoStageRetriever: num_videos', num_videos)
        first, second = MODELS.build(first_stage), MODELS.build(second_stage)
        for name, stage, kind in (
            ('first_stage', first, CorpusModel),
            ('second_stage', second, SecondStage),
        ):
            if not isinstance(stage, kind):
                raise ValueError(
                    f'TwoStageRetriever: {name} is a {type(stage).__name__}, expected a '
                    f'{kind.__name__}'
                )
        super().__init__(
            test_cfg=test_cfg,
            data_preprocessor=StagedDataPreprocessor(
                first.data_preprocessor, second.data_preprocessor
            ),
            init_cfg=init_cfg,
        )
        self.first_stage = first.requires_grad_(False)
        self.second_stage = second
        self.num_videos = num_videos
        # Its moments are not asked for, and cost as much as its videos.
        listed = max(self.ranking.num_videos, num_videos)
        first.ranking = replace(first.ranking, num_videos=listed, tasks=('VR',))

    def train(self, mode: bool = True) -> 'TwoStageRetriever':
        """Set the second stage to training or evaluation; the first is never trained."""
        super().train(mode)
        self.first_stage.eval()
        return self

    def checksum(self) -> str:
        """Compute the SHA-256 of the checksums of the stages."""
        both = self.first_stage.checksum() + self.second_stage.checksum()
        return hashlib.sha256(both.encode()).hexdigest()

    def encode_query(self, inputs: Mapping[str, PackedRows]) -> dict[str, Tensor]:
        """Encode queries for the first stage; see :meth:`CorpusModel.encode_query`."""
        return self.first_stage.encode_query(inputs)

    def encode_context(self, inputs: Mapping[str, PackedRows]) -> RowSets:
        """Encode videos for the first stage; see :meth:`CorpusModel.encode_context`."""
        return self.first_stage.encode_context(inputs)

    def moment_search(self, corpus: EncodedCorpus) -> None:
        """Return None: the second stage finds moments, in :meth:`predict`."""

    @torch.no_grad()
    def encode_corpus(self, batches: Iterable[dict]) -> StagedCorpus:
        """Encode a corpus for both stages; see :meth:`CorpusModel.encode_corpus`."""
        parts = []
        for batch in batches:
            data = self.data_preprocessor(batch)
            first, second = _inputs_of_stages(data['inputs'])
            parts.append(
                StagedCorpus(
                    self.first_stage.encode_videos({**data, 'inputs': first}),
                    self.second_stage.encode_videos({**data, 'inputs': second}),
                )
            )
        if not parts:
            raise InputError('the corpus has no video to rank')
        return StagedCorpus.merge(parts)

    def load_corpus(self, folder: str | Path) -> StagedCorpus:
        """Read a corpus that this model encoded; see :meth:`StagedCorpus.load`."""
        return StagedCorpus.load(folder, model_checksum=self.checksum())

    def index_corpus(self, encoded: StagedCorpus, *, sharded: bool = False) -> TwoStageIndex:
        """Make an encoded corpus ready for queries; see :meth:`CorpusModel.index_corpus`."""
        return TwoStageIndex(
            self.first_stage.index_corpus(encoded.first, sharded=sharded),
            PairIndex.build(encoded.second, sharded=sharded),
        )

    @torch.no_grad()
    def predict(
        self,
        inputs: dict[str, PackedRows],
        data_samples: list[MomentDataSample],
        corpus: TwoStageIndex,
    ) -> list[MomentDataSample]:
        """Rank the corpus for each query, in two stages; see :meth:`CorpusModel.predict`."""
        first, second = _inputs_of_stages(inputs)
        found = self.first_stage.predict(first, data_samples, corpus.first)
        scores, videos = _ranked_videos(found, corpus)
        own = own_places(corpus.corpus, data_samples)
        pairs = self._score(
            second, torch.cat([videos[:, : self.num_videos], own[:, None]], 1), corpus
        )
        with torch.autocast(corpus.device.type, enabled=False):
            lists = self._rank(pairs, scores, videos, own, corpus)
        add_predictions(data_samples, lists, own, corpus.corpus, self.ranking)
        return data_samples

    def span_probabilities(
        self, inputs: dict[str, PackedRows], videos: Tensor, corpus: TwoStageIndex
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute those of start and end; see :meth:`CorpusModel.span_probabilities`."""
        _, second = _inputs_of_stages(inputs)
        asked = videos.new_full((len(second['query'].places), 1), -1)
        asked[: len(videos), 0] = videos
        start, end = moment_probabilities(self._score(second, asked, corpus), together=False)
        lengths = corpus.corpus.layout.lengths[videos].to(corpus.device)
        clips = torch.arange(start.shape[2], device=corpus.device)
        count = len(videos)
        return start[:count, 0], end[:count, 0], clips < lengths[:, None]

    def _score(
        self, inputs: Mapping[str, PackedRows], places: Tensor, corpus: TwoStageIndex
    ) -> PairScores:
        return corpus.second.score(
            self.second_stage, self.second_stage.encode_words(inputs), places
        )

    def _rank(
        self,
        pairs: PairScores,
        scores: Tensor,
        videos: Tensor,
        own: Tensor,
        corpus: TwoStageIndex,
    ) -> RankedLists:
        """Make the lists of Q queries.

        Args:
            pairs: Scores of the V re-ranked videos and of each query's own one, (Q, V + 1, L).
            scores: (Q, K), of the first stage.
            videos: (Q, K) int64, places in the corpus.
            own: (Q,) int64, the place of each query's own video, −1 where it is not known.
            corpus: The corpus.
        """
        layout, spans = corpus.corpus.layout.to(corpus.device), self.ranking.spans
        scores, videos, own = (x.to(corpus.device) for x in (scores, videos, own))
        places = videos[:, : self.num_videos]
        found = pairs.map(lambda x: x[:, :-1])
        scoring = self.second_stage.scoring
        start, end = moment_probabilities(found, together=scoring == 'disjoint')
        weights = torch.ones_like(scores[:, : self.num_videos])
        if scoring == 'general':
            weights = torch.exp(self.ranking.alpha * (scores - scores[:, :1]))[:, : self.num_videos]
        elif scoring == 'exclusive':
            weights = found.video_scores.softmax(1)
            scores, videos = put_first(scores, videos, weights)
        else:
            best = best_moments(start, end, places, layout, spans)
            scores, videos = put_first(scores, videos, best)
        listed, tasks = slice(self.ranking.num_videos), self.ranking.tasks
        moments = own_moments = None
        if 'VCMR' in tasks:
            moments = rank_moments(start, end, weights, places, layout, spans)
        if 'SVMR' in tasks:
            own_moments = self._rank_own(pairs, own, layout)
        return RankedLists(scores[:, listed], videos[:, listed], moments, own_moments)

    def _rank_own(self, pairs: PairScores, own: Tensor, layout: RowLayout) -> RankedMoments | None:
        known = own >= 0
        if not known.any():
            return None
        start, end = moment_probabilities(pairs.map(lambda x: x[known, -1:]), together=False)
        weights = start.new_ones(len(start), 1)
        return rank_moments(start, end, weights, own[known, None], layout, self.ranking.spans)

    def loss(
        self, inputs: dict[str, PackedRows], data_samples: Sequence[MomentDataSample]
    ) -> dict[str, Tensor]:
        """Compute the losses of the second stage; see :meth:`SecondStage.loss`.

        Raises:
            InputError: ``span_end`` of the targets is not that of the model.
        """
        self._check_targets(data_samples[0])
        return self.second_stage.loss(inputs, data_samples)

    def _tensors(self, inputs: dict[str, PackedRows]) -> dict[str, Tensor]:
        """Compute the scores of the second stage, for mode ``tensor``."""
        return self.second_stage(_inputs_of_stages(inputs)[1])


def _inputs_of_stages(
    inputs: Mapping[str, Any],
) -> tuple[dict[str, PackedRows], Mapping[str, PackedRows]]:
    """Separate the inputs of the stages; without inputs of its own the second has the first's."""
    first = dict(inputs)
    return first, first.pop('second_stage', first)


def _ranked_videos(
    samples: Sequence[MomentDataSample], corpus: TwoStageIndex
) -> tuple[Tensor, Tensor]:
    """Return scores (Q, K) and places (Q, K) of the videos that the first stage found."""
    scores = torch.stack([sample.pred_vr.scores for sample in samples])
    places = [
        [corpus.corpus.place_of(video_id) for video_id in sample.pred_vr.video_ids.tolist()]
        for sample in samples
    ]
    return scores, torch.tensor(places)
