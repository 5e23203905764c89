"""What evaluation, the APIs and the tools need of any model that finds moments in a corpus."""

import hashlib
import logging
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.checks import wrong_width
from reloclnet_mm.retrieval.moment_search import MomentFinder
from reloclnet_mm.retrieval.results import RankingOptions, add_predictions, own_places
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample, PackedRows, RowLayout
from reloclnet_mm.structures.clips import SpanEnd
from reloclnet_mm.structures.corpus import RowSets, map_rows


class CorpusModel(BaseModel, metaclass=ABCMeta):
    """Encodes queries and videos apart and finds moments in a corpus; the base of all models.

    Models that are trained derive from :class:`~reloclnet_mm.models.base.CorpusRetriever`.

    Args:
        test_cfg: Fields of :class:`~reloclnet_mm.retrieval.results.RankingOptions`.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Passed to mmengine's BaseModel.
    """

    kept_rows: tuple[str, ...] = ('retrieval', 'localization')
    """Row sets of :meth:`encode_context` that an encoded corpus keeps."""

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
    def encode_context(self, inputs: Mapping[str, PackedRows]) -> RowSets:
        """Encode videos by themselves.

        Args:
            inputs: ``clips``, whose features are the streams, each (R, channels).

        Returns:
            Row sets by what they are for: ``retrieval``, which videos are scored by,
            ``localization``, which moments are found by, and what the losses need besides. Each is
            stream name to (R, d). Two sets may share their tensors.
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

    @torch.no_grad()
    def encode_corpus(self, batches: Iterable[dict]) -> EncodedCorpus:
        """Encode a corpus.

        Args:
            batches: What a dataloader over a corpus data set yields.

        Raises:
            InputError: There is no video in it.
        """
        parts = [self._encode_videos(self.data_preprocessor(batch)) for batch in batches]
        if not parts:
            raise InputError('the corpus has no video to rank')
        return EncodedCorpus.merge(parts)

    def _encode_videos(self, data: dict) -> EncodedCorpus:
        packed, samples = data['inputs']['clips'], data['data_samples']
        encoded = self.encode_context(data['inputs'])
        layout, places = packed.layout, packed.places.tolist()
        numbers = layout.first_rows, self.rows_to_keep(layout), layout.lengths
        first, kept, lengths = (x.tolist() for x in numbers)

        def keep(x: Tensor) -> Tensor:
            return torch.cat([x[first[p] : first[p] + kept[p]] for p in places]).float()

        return EncodedCorpus(
            video_names=tuple(sample.video_name for sample in samples),
            video_ids=torch.tensor([sample.video_id for sample in samples]),
            seconds_per_clip=torch.tensor(
                [sample.seconds_per_clip for sample in samples], dtype=torch.float64
            ),
            positions=torch.tensor([sample.sample_idx for sample in samples]),
            layout=RowLayout.stack([lengths[p] for p in places], [kept[p] for p in places]),
            rows=map_rows({name: encoded[name] for name in self.kept_rows}, keep),
        )

    def rows_to_keep(self, layout: RowLayout) -> Tensor:
        """Count the rows (N,) int64 of each video that are kept in an encoded corpus."""
        return layout.lengths

    def index_corpus(self, encoded: EncodedCorpus, *, sharded: bool = False) -> CorpusIndex:
        """Make an encoded corpus ready for queries.

        Args:
            encoded: The whole corpus; with ``sharded`` the videos that this process encoded.
            sharded: Whether each process keeps its own videos; then all must call this.
        """
        index = CorpusIndex.build(encoded, self.moment_search, sharded=sharded)
        if len(index.corpus) < self.ranking.num_videos:
            print_log(
                f'the corpus has {len(index.corpus)} videos, fewer than test_cfg.num_videos='
                f'{self.ranking.num_videos}: all of them are ranked for each query',
                logger='current',
                level=logging.WARNING,
            )
        return index

    def checksum(self) -> str:
        """Compute the SHA-256 of the weights; an encoded corpus belongs to one of them."""
        digest = hashlib.sha256()
        for name, x in self.state_dict().items():
            digest.update(f'{name} {x.dtype} {tuple(x.shape)}'.encode())
            digest.update(x.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

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


def streams_of(packed: PackedRows, widths: Mapping[str, int]) -> dict[str, Tensor]:
    """Take the streams of a model from a batch.

    Args:
        packed: Clips.
        widths: Stream name to the width of its features.

    Raises:
        InputError: A stream is missing or has another width.
    """
    for name, width in widths.items():
        if name not in packed.features:
            raise InputError(
                f'the model has a stream {name!r} and the batch has none: load it in the '
                'pipeline, or leave it out of model.streams'
            )
        check_width(name, packed.features[name], width)
    return {name: packed.features[name] for name in widths}


def check_width(name: str, features: Tensor, expected: int) -> None:
    """Refuse features (R, channels) of another width than the model was built for.

    Raises:
        InputError: They have one.
    """
    if features.shape[-1] != expected:
        raise InputError(wrong_width(name, features.shape[-1], expected))
