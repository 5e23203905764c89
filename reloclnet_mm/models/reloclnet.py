"""ReLoCLNet (Zhang et al., SIGIR 2021)."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Literal

import torch
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.encoded_pairs import (
    EncodedPairs,
    gather_pairs,
    gather_rows,
    same_draws_on_all_ranks,
)
from reloclnet_mm.models.encoders import ContextEncoder, ContextLevels, QueryEncoder, SpanPredictor
from reloclnet_mm.models.layers import Padding
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.index import CorpusIndex
from reloclnet_mm.retrieval.moment_search import span_probabilities
from reloclnet_mm.retrieval.pairs import VideoPairs
from reloclnet_mm.retrieval.results import (
    RankedLists,
    RankingOptions,
    add_predictions,
    own_places,
    rank_corpus,
)
from reloclnet_mm.retrieval.sharding import CorpusShard, make_shard, own_videos_of_rank, rank_shards
from reloclnet_mm.retrieval.similarity import (
    largest_similarity,
    similarity_in_own_video,
    similarity_of_all,
    video_scores,
)
from reloclnet_mm.structures import MomentDataSample, VideoCorpus
from reloclnet_mm.structures.packed_rows import PackedRows, RowLayout


@MODELS.register_module()
class ReLoCLNet(BaseModel):
    """Encodes queries and videos apart, and finds moments in a corpus.

    Args:
        streams: Stream name to the width of its clip features, position columns included:
            ``dict(video=3074, subtitle=770)``, or one of the two.
        query_channels: Width of a query's token features.
        loss_ranking: Config of :class:`~reloclnet_mm.models.losses.RankingLoss`.
        loss_span: Config of :class:`~reloclnet_mm.models.losses.SpanLoss`.
        loss_frame: Config of :class:`~reloclnet_mm.models.losses.FrameContrastiveLoss`; None
            trains without FrameCL.
        loss_video: Config of :class:`~reloclnet_mm.models.losses.VideoContrastiveLoss`; None
            trains without VideoCL.
        embed_dims: Width of the model.
        num_heads: Attention heads.
        max_query_tokens: Positions of the query encoder.
        max_clips: Positions of the context encoder.
        input_dropout: Probability, on the normalized features.
        dropout: Probability, everywhere else.
        span_kernel_size: Of the convolutions that predict start and end.
        padding: See :data:`~reloclnet_mm.models.layers.Padding`.
        gather_negatives: Whether the batches of all ranks are contrasted as one, so that N ranks
            with batches of B compute what one computes with N · B. Otherwise each rank contrasts
            within its own batch. Without ranks it makes no difference.
        test_cfg: Fields of :class:`~reloclnet_mm.retrieval.results.RankingOptions`.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialization; None: that of the paper, Linear and Embedding weights from
            N(0, 0.02) and Linear biases 0.
    """

    def __init__(
        self,
        *,
        streams: Mapping[str, int],
        query_channels: int,
        loss_ranking: dict,
        loss_span: dict,
        loss_frame: dict | None = None,
        loss_video: dict | None = None,
        embed_dims: int = 384,
        num_heads: int = 8,
        max_query_tokens: int = 30,
        max_clips: int = 128,
        input_dropout: float = 0.1,
        dropout: float = 0.1,
        span_kernel_size: int = 5,
        padding: Padding = 'independent',
        gather_negatives: bool = False,
        test_cfg: Mapping[str, Any] | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            data_preprocessor or dict(type='reloclnet_mm.MomentDataPreprocessor'),
            init_cfg or dict(type='Normal', layer=['Linear', 'Embedding'], std=0.02, bias=0.0),
        )
        if padding not in ('independent', 'official'):
            raise ValueError(
                f"ReLoCLNet: padding is {padding!r}, expected 'independent' or 'official'"
            )
        if gather_negatives and padding == 'official':
            raise ValueError(
                "ReLoCLNet: gather_negatives=True needs padding='independent'; with 'official' "
                'results depend on how far a batch is padded, and ranks pad apart'
            )
        self.padding = padding
        self.gather_negatives = gather_negatives
        self.ranking = RankingOptions(**(test_cfg or {}))
        sizes = dict(
            embed_dims=embed_dims, num_heads=num_heads, input_dropout=input_dropout, dropout=dropout
        )
        self.query_encoder = QueryEncoder(
            in_channels=query_channels, streams=streams, max_tokens=max_query_tokens, **sizes
        )
        self.context_encoder = ContextEncoder(in_channels=streams, max_clips=max_clips, **sizes)
        self.span_predictor = SpanPredictor(
            streams=list(streams), embed_dims=embed_dims, kernel_size=span_kernel_size
        )
        self.loss_ranking = MODELS.build(loss_ranking)
        self.loss_span = MODELS.build(loss_span)
        self.loss_frame = MODELS.build(loss_frame) if loss_frame else None
        self.loss_video = MODELS.build(loss_video) if loss_video else None

    def forward(
        self,
        inputs: dict[str, PackedRows],
        data_samples: list[MomentDataSample] | None = None,
        mode: Literal['loss', 'predict', 'tensor'] = 'tensor',
        corpus: CorpusIndex | CorpusShard | None = None,
    ) -> dict[str, Tensor] | list[MomentDataSample]:
        """What mmengine calls.

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
                    "val_cfg=dict(type='CorpusValLoop', …) and test_cfg=dict(type="
                    "'CorpusTestLoop', …), or pass "
                    'corpus=model.index_corpus(model.encode_corpus(…))'
                )
            return self.predict(inputs, data_samples, corpus)
        if mode == 'tensor':
            return self._tensors(inputs)
        raise ValueError(f"mode is {mode!r}, expected 'loss', 'predict' or 'tensor'")

    def encode_query(self, inputs: Mapping[str, PackedRows]) -> dict[str, Tensor]:
        """Encode queries by themselves.

        Args:
            inputs: ``query``, whose feature ``query`` is (R, query_channels).

        Returns:
            Stream name to (B, d), float32.
        """
        query = inputs['query']
        tokens = query.features['query']
        _check_width('query', tokens, self.query_encoder.projection.linear.in_features)
        encoded = self.query_encoder(tokens, query.layout, self.padding)
        return {name: x[query.places].float() for name, x in encoded.items()}

    def encode_context(self, inputs: Mapping[str, PackedRows]) -> ContextLevels:
        """Encode videos by themselves.

        Args:
            inputs: ``clips``, whose features are the streams, each (R, channels).

        Returns:
            Stream name to its three levels, each (R, d).
        """
        packed = inputs['clips']
        clips = {}
        for name, stream in self.context_encoder.streams.items():
            if name not in packed.features:
                raise InputError(
                    f'the model has a stream {name!r} and the batch has none: load it in the '
                    'pipeline, or leave it out of model.streams'
                )
            clips[name] = packed.features[name]
            _check_width(name, clips[name], stream.projection.linear.in_features)
        return self.context_encoder(clips, packed.layout, self.padding)

    def encode_pair(self, inputs: Mapping[str, PackedRows]) -> EncodedPairs:
        """Encode queries and, beside them, each one's own video."""
        clips = inputs['clips']
        return EncodedPairs(
            self.encode_query(inputs), self.encode_context(inputs), clips.layout, clips.places
        )

    @torch.no_grad()
    def encode_corpus(self, batches: Iterable[dict]) -> VideoCorpus:
        """Encode a corpus.

        Args:
            batches: What a dataloader over a corpus data set yields.

        Raises:
            InputError: There is no video in it.
        """
        parts = [self._encode_videos(self.data_preprocessor(batch)) for batch in batches]
        if not parts:
            raise InputError('the corpus has no video to rank')
        return VideoCorpus.merge(parts)

    def _encode_videos(self, data: dict) -> VideoCorpus:
        packed, samples = data['inputs']['clips'], data['data_samples']
        levels = self.encode_context(data['inputs'])
        features = torch.cat([level[-1].float() for level in levels.values()], 1)
        layout, places = packed.layout, packed.places.tolist()
        kept = layout.lengths
        if self.padding == 'official':
            # The convolution sees so many rows of padding behind the last clip.
            reach = self.span_predictor.kernels.shape[2] // 2
            kept = torch.minimum(kept + reach, layout.rows_of_each)
        first, kept, lengths = (x.tolist() for x in (layout.first_rows, kept, layout.lengths))
        return VideoCorpus(
            video_names=tuple(sample.video_name for sample in samples),
            video_ids=torch.tensor([sample.video_id for sample in samples]),
            seconds_per_clip=torch.tensor([sample.seconds_per_clip for sample in samples]),
            order=torch.tensor([sample.sample_idx for sample in samples]),
            streams=tuple(levels),
            features=torch.cat([features[first[p] : first[p] + kept[p]] for p in places]),
            layout=RowLayout.stack([lengths[p] for p in places], [kept[p] for p in places]),
        )

    def index_corpus(self, corpus: VideoCorpus) -> CorpusIndex:
        """Make an encoded corpus ready for queries."""
        self._warn_of_few_videos(corpus)
        return self._index(corpus)

    def index_shard(self, encoded: VideoCorpus) -> CorpusShard:
        """Make this rank's part of a corpus ready for queries; every rank must call it.

        Args:
            encoded: The videos that this rank encoded.
        """
        own, corpus = own_videos_of_rank(encoded)
        self._warn_of_few_videos(corpus)
        index = None if own is None else self._index(own)
        return make_shard(index, corpus, encoded.features.device)

    def _index(self, corpus: VideoCorpus) -> CorpusIndex:
        return CorpusIndex(corpus, self.span_predictor.kernels.detach(), self.ranking.coarse_dtype)

    def _warn_of_few_videos(self, corpus: VideoCorpus) -> None:
        if len(corpus) < self.ranking.num_videos:
            print_log(
                f'the corpus has {len(corpus)} videos, fewer than test_cfg.num_videos='
                f'{self.ranking.num_videos}: all of them are ranked for each query',
                logger='current',
                level=logging.WARNING,
            )

    def loss(
        self, inputs: dict[str, PackedRows], data_samples: list[MomentDataSample]
    ) -> dict[str, Tensor]:
        """The weighted losses of a batch.

        Args:
            inputs: Queries and, in the same order, their videos.
            data_samples: B samples with ``gt_span`` and ``video_id``.
        """
        pairs = self.encode_pair(inputs)
        device = pairs.places.device
        spans = torch.stack([sample.gt_span for sample in data_samples])
        # Scores differ in digits that bfloat16 does not have.
        with ExitStack() as context:
            context.enter_context(torch.autocast(device.type, enabled=False))
            videos = pairs.places
            if self.gather_negatives and get_world_size() > 1:
                videos = torch.tensor([sample.video_id for sample in data_samples], device=device)
                pairs, videos, spans = gather_pairs(pairs), gather_rows(videos), gather_rows(spans)
                context.enter_context(same_draws_on_all_ranks(device))
            return self._losses(pairs, videos[:, None] == videos, spans)

    def _losses(self, pairs: EncodedPairs, same_video: Tensor, spans: Tensor) -> dict[str, Tensor]:
        rows, clip_mask = pairs.layout.pad(pairs.places)
        scores = video_scores(pairs.queries, pairs.level(3), pairs.layout)[:, pairs.places]
        by_query, by_video = self.loss_ranking(scores, same_video)
        losses = dict(loss_rank_query=by_query, loss_rank_video=by_video)
        losses['loss_span'] = self.loss_span(*self._paired_logits(pairs), spans)
        if self.loss_frame is None and self.loss_video is None:
            return losses
        second = similarity_of_all(pairs.queries, pairs.level(2))
        if self.loss_frame is not None:
            own = {name: similarity_in_own_video(x, rows) for name, x in second.items()}
            losses['loss_frame_cl'] = self.loss_frame(own, clip_mask, spans)
        if self.loss_video is not None:
            largest = largest_similarity(second, pairs.layout)[:, pairs.places]
            losses['loss_video_cl'] = self.loss_video(largest, same_video)
        return losses

    def _paired_logits(self, pairs: EncodedPairs) -> tuple[Tensor, Tensor]:
        """Start and end logits (B, L) of each query in its own video."""
        rows, clip_mask = pairs.layout.pad(pairs.places)
        mapped = self.span_predictor.map_queries(pairs.queries)
        products = similarity_of_all(mapped, pairs.level(3)).values()
        own = torch.stack([similarity_in_own_video(x, rows) for x in products]).mean(0)
        return self.span_predictor(own, clip_mask, self.padding)

    def predict(
        self,
        inputs: dict[str, PackedRows],
        data_samples: list[MomentDataSample],
        corpus: CorpusIndex | CorpusShard,
    ) -> list[MomentDataSample]:
        """Rank the corpus for each query.

        Args:
            inputs: ``query``.
            data_samples: B samples. Where one knows its ``video_id``, SVMR is answered too.
            corpus: The videos, encoded and indexed, or this rank's part of them.

        Returns:
            The samples with ``pred_vr``, ``pred_vcmr`` and ``pred_svmr``, on the CPU.
        """
        queries = self.encode_query(inputs)
        own = own_places(corpus.corpus, data_samples)
        with torch.autocast(corpus.device.type, enabled=False):
            ranked = self.rank(queries, corpus, own)
        add_predictions(data_samples, ranked, own, corpus.corpus, self.ranking)
        return data_samples

    @torch.no_grad()
    def rank(
        self,
        queries: Mapping[str, Tensor],
        corpus: CorpusIndex | CorpusShard,
        own_videos: Tensor,
    ) -> RankedLists:
        """Ranked lists of encoded queries, as tensors.

        Args:
            queries: Stream name to (Q, d).
            corpus: The videos, encoded and indexed, or this rank's part of them; then all ranks
                must call it.
            own_videos: (Q,) int64, the place of each query's own video in the corpus, for SVMR; −1
                where it is not known.
        """
        ranked_by = rank_shards if isinstance(corpus, CorpusShard) else rank_corpus
        return ranked_by(
            queries,
            self.span_predictor.map_queries(queries),
            corpus,
            own_videos.to(corpus.device),
            self.ranking,
        )

    @torch.no_grad()
    def span_probabilities(
        self, queries: Mapping[str, Tensor], corpus: CorpusIndex, videos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities of a moment's start and end at each clip of one video of each query.

        Args:
            queries: Stream name to (Q, d).
            corpus: The videos, encoded and indexed.
            videos: (Q,) int64, their places in the corpus.

        Returns:
            p_st (Q, L), p_ed (Q, L) and the mask (Q, L) of valid clips.
        """
        mapped = self.span_predictor.map_queries(queries)
        side_by_side = torch.cat([mapped[name] for name in corpus.streams], 1) / len(mapped)
        videos, order = videos.to(corpus.device).sort(stable=True)
        probabilities = span_probabilities(side_by_side, corpus, VideoPairs(order, videos))
        return tuple(x[order.argsort()] for x in probabilities)

    def _tensors(self, inputs: dict[str, PackedRows]) -> dict[str, Tensor]:
        """The outputs of queries beside their own videos, for mode ``tensor``."""
        pairs = self.encode_pair(inputs)
        start_logits, end_logits = self._paired_logits(pairs)
        scores = video_scores(pairs.queries, pairs.level(3), pairs.layout)
        return dict(
            video_scores=scores[:, pairs.places], start_logits=start_logits, end_logits=end_logits
        )


def _check_width(name: str, features: Tensor, expected: int) -> None:
    if features.shape[-1] != expected:
        raise InputError(
            f'{name} features are {features.shape[-1]} wide and the model was built for '
            f'{expected}: set query_channels or streams in the model config to the width of your '
            'features, two more where AppendTEF appends its columns'
        )
