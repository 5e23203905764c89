"""What evaluation, the APIs and the tools need of any model that finds moments in a corpus."""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.logging import print_log
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.encoding_model import EncodingModel
from reloclnet_mm.retrieval.moment_search import MomentFinder
from reloclnet_mm.retrieval.results import RankingOptions, add_predictions, own_places
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.retrieval.video_search import VideoSearch
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample, PackedRows
from reloclnet_mm.structures.clips import SpanEnd
from reloclnet_mm.structures.parted_corpus import PartedCorpus


class CorpusModel(EncodingModel):
    """Encodes queries and videos apart and finds moments in a corpus; the base of all models.

    Models that are trained derive from :class:`~reloclnet_mm.models.base.CorpusRetriever`.

    Args:
        test_cfg: Fields of :class:`~reloclnet_mm.retrieval.results.RankingOptions`.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Passed to mmengine's BaseModel.
    """

    def __init__(
        self,
        *,
        test_cfg: Mapping[str, Any] | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            data_preprocessor or dict(type='reloclnet_mm.MomentDataPreprocessor'), init_cfg
        )
        self.ranking = RankingOptions(**(test_cfg or {}))

    @abstractmethod
    def encode_query(self, inputs: Mapping[str, PackedRows]) -> dict[str, Tensor]:
        """Encode queries by themselves.

        Args:
            inputs: ``query``, whose feature ``query`` is (R, query_channels).

        Returns:
            Stream name to (B, d), float32.
        """

    @abstractmethod
    def moment_search(self, corpus: EncodedCorpus) -> MomentFinder | None:
        """Make the search for moments in encoded videos; None: :meth:`predict` asks for none.

        Args:
            corpus: The videos, or those of a process.
        """

    @abstractmethod
    def loss(
        self, inputs: dict[str, PackedRows], data_samples: Sequence[MomentDataSample]
    ) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch.

        Args:
            inputs: Queries and, in the same order, their videos.
            data_samples: B samples with their truth.
        """

    @abstractmethod
    def _tensors(self, inputs: dict[str, PackedRows]) -> dict[str, Tensor]:
        """Compute the outputs of queries beside their own videos, for mode ``tensor``.

        Args:
            inputs: Queries and, in the same order, their videos.
        """

    @property
    def span_limits(self) -> tuple[int, int, SpanEnd] | None:
        """Which spans (i, j) may be answered: ``min_span``, ``max_span`` and ``span_end``.

        None: the moments of this model are no spans of clips.
        """
        return self.ranking.min_span, self.ranking.max_span, self.ranking.span_end

    def forward(
        self,
        inputs: dict[str, PackedRows],
        data_samples: list[MomentDataSample] | None = None,
        mode: Literal['loss', 'predict', 'tensor'] = 'tensor',
        corpus: CorpusIndex | None = None,
    ) -> dict[str, Tensor] | list[MomentDataSample]:
        """Run one of the modes that mmengine asks for.

        Args:
            inputs: As :class:`~reloclnet_mm.models.data_preprocessors.MomentDataPreprocessor`
                leaves them.
            data_samples: B samples with their truth; not needed for ``tensor``.
            mode: ``loss``, ``predict`` or ``tensor``.
            corpus: The videos to rank, for ``predict``.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            if corpus is None:
                raise ValueError(
                    'mode="predict" ranks the videos of a corpus and got none: evaluate with '
                    "val_cfg=dict(type='CorpusValLoop') and test_cfg=dict(type='CorpusTestLoop'), "
                    'or pass corpus=model.index_corpus(model.encode_corpus(…))'
                )
            return self.predict(inputs, data_samples, corpus)
        if mode == 'tensor':
            return self._tensors(inputs)
        raise ValueError(f"mode is {mode!r}, expected 'loss', 'predict' or 'tensor'")

    def load_corpus(self, folder: str | Path) -> EncodedCorpus:
        """Read a corpus that this model encoded; see :meth:`EncodedCorpus.load`."""
        return EncodedCorpus.load(folder, model_checksum=self.checksum())

    def index_corpus(self, encoded: EncodedCorpus, *, sharded: bool = False) -> CorpusIndex:
        """Make an encoded corpus ready for queries.

        Args:
            encoded: The whole corpus; with ``sharded`` the videos that this process encoded.
            sharded: Whether each process keeps its own videos; then all must call this.
        """
        index = CorpusIndex.build(encoded, self.moment_search, sharded=sharded)
        self._warn_of_few(len(index.corpus))
        return index

    def index_parts(self, corpus: PartedCorpus, videos: VideoSearch) -> CorpusIndex:
        """Make a corpus ready for queries whose rows stay on disk.

        Args:
            corpus: The videos, which this model encoded.
            videos: Search for videos in it.
        """
        device = next(self.parameters()).device
        index = CorpusIndex.of_parts(corpus, videos, self.moment_search, device)
        self._warn_of_few(len(corpus))
        return index

    def _warn_of_few(self, num_videos: int) -> None:
        if num_videos < self.ranking.num_videos:
            print_log(
                f'the corpus has {num_videos} videos, fewer than test_cfg.num_videos='
                f'{self.ranking.num_videos}: all of them are ranked for each query',
                logger='current',
                level=logging.WARNING,
            )

    @torch.no_grad()
    def predict(
        self,
        inputs: dict[str, PackedRows],
        data_samples: list[MomentDataSample],
        corpus: CorpusIndex,
    ) -> list[MomentDataSample]:
        """Rank the corpus for each query.

        Args:
            inputs: ``query``.
            data_samples: B samples. Where one knows its ``video_id``, SVMR is answered too.
            corpus: The videos, encoded and indexed.

        Returns:
            The samples with ``pred_vr``, ``pred_vcmr`` and ``pred_svmr``, on the CPU.
        """
        queries = self.encode_query(inputs)
        own = own_places(corpus.corpus, data_samples)
        with torch.autocast(corpus.device.type, enabled=False):
            ranked = corpus.rank(queries, own, self.ranking)
        add_predictions(data_samples, ranked, own, corpus.corpus, self.ranking)
        return data_samples

    def _check_targets(self, sample: MomentDataSample) -> None:
        """Refuse targets whose end is another clip than that of the answers."""
        found, expected = sample.get('span_end', 'official'), self.ranking.span_end
        if found != expected:
            raise InputError(
                f'the targets have span_end={found!r}, and the answers of the model {expected!r}; '
                'set span_end of MomentToSpan in the pipeline of training and that of '
                'model.test_cfg to the same'
            )

    @torch.no_grad()
    def span_probabilities(
        self, inputs: dict[str, PackedRows], videos: Tensor, corpus: CorpusIndex
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Compute the probabilities of start and end in one video of each of the first queries.

        Args:
            inputs: ``query``, of B queries.
            videos: (Q,) int64, Q ≤ B, places in the corpus.
            corpus: The videos, encoded and indexed.

        Returns:
            As :meth:`CorpusIndex.span_probabilities`.
        """
        queries = {name: x[: len(videos)] for name, x in self.encode_query(inputs).items()}
        return corpus.span_probabilities(queries, videos)
