"""ReLoCLNet (Zhang et al., SIGIR 2021)."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.encoders import ContextEncoder, ContextLevels, QueryEncoder, SpanPredictor
from reloclnet_mm.models.layers import Padding
from reloclnet_mm.models.prediction import (
    RankingOptions,
    moment_predictions,
    own_rows,
    video_predictions,
)
from reloclnet_mm.models.ranking import (
    pair_similarity,
    rank_videos,
    similarity_in_videos,
    video_scores,
)
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample, VideoCorpus


@dataclass(frozen=True)
class EncodedPairs:
    """A batch of queries and their own videos, encoded.

    Attributes:
        queries: Stream name to (B, d).
        contexts: Stream name to the three levels (B, L, d).
        clip_mask: (B, L) bool.
    """

    queries: dict[str, Tensor]
    contexts: ContextLevels
    clip_mask: Tensor

    def level(self, number: Literal[1, 2, 3]) -> dict[str, Tensor]:
        """Stream name to (B, L, d) of one level."""
        return {name: levels[number - 1] for name, levels in self.contexts.items()}


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
        test_cfg: Fields of :class:`~reloclnet_mm.models.prediction.RankingOptions`.
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
        self.padding = padding
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
        inputs: dict[str, Tensor],
        data_samples: list[MomentDataSample] | None = None,
        mode: Literal['loss', 'predict', 'tensor'] = 'tensor',
        corpus: VideoCorpus | None = None,
    ) -> dict[str, Tensor] | list[MomentDataSample]:
        """What mmengine calls.

        Args:
            inputs: As :class:`~reloclnet_mm.models.data_preprocessor.MomentDataPreprocessor`
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
                    "'CorpusTestLoop', …), or pass corpus=model.encode_corpus(…)"
                )
            return self.predict(inputs, data_samples, corpus)
        if mode == 'tensor':
            return self._tensors(inputs)
        raise ValueError(f"mode is {mode!r}, expected 'loss', 'predict' or 'tensor'")

    def encode_query(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Encode queries by themselves.

        Args:
            inputs: ``query`` (B, T, query_channels) and ``query_mask`` (B, T) bool.

        Returns:
            Stream name to (B, d).
        """
        _check_width('query', inputs['query'], self.query_encoder.projection.linear.in_features)
        return self.query_encoder(inputs['query'], inputs['query_mask'], self.padding)

    def encode_context(self, inputs: Mapping[str, Tensor]) -> ContextLevels:
        """Encode videos by themselves.

        Args:
            inputs: Each stream's name (B, L, channels), and ``clip_mask`` (B, L) bool.

        Returns:
            Stream name to its three levels, each (B, L, d).
        """
        clips = {}
        for name, stream in self.context_encoder.streams.items():
            if name not in inputs:
                raise InputError(
                    f'the model has a stream {name!r} and the batch has none: load it in the '
                    'pipeline, or leave it out of model.streams'
                )
            _check_width(name, inputs[name], stream.projection.linear.in_features)
            clips[name] = inputs[name]
        return self.context_encoder(clips, inputs['clip_mask'], self.padding)

    def encode_pair(self, inputs: Mapping[str, Tensor]) -> EncodedPairs:
        """Encode queries and, beside them, each one's own video."""
        return EncodedPairs(
            self.encode_query(inputs), self.encode_context(inputs), inputs['clip_mask']
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
        corpus = VideoCorpus.merge(parts)
        if len(corpus) < self.ranking.num_videos:
            print_log(
                f'the corpus has {len(corpus)} videos, fewer than test_cfg.num_videos='
                f'{self.ranking.num_videos}: all of them are ranked for each query',
                logger='current',
                level=logging.WARNING,
            )
        return corpus

    def _encode_videos(self, data: dict) -> VideoCorpus:
        inputs, samples = data['inputs'], data['data_samples']
        levels = self.encode_context(inputs)
        return VideoCorpus(
            video_names=tuple(sample.video_name for sample in samples),
            video_ids=torch.tensor([sample.video_id for sample in samples]),
            seconds_per_clip=torch.tensor([sample.seconds_per_clip for sample in samples]),
            features={name: level[-1] for name, level in levels.items()},
            clip_mask=inputs['clip_mask'],
            order=torch.tensor([sample.sample_idx for sample in samples]),
        )

    def loss(
        self, inputs: dict[str, Tensor], data_samples: list[MomentDataSample]
    ) -> dict[str, Tensor]:
        """The weighted losses of a batch.

        Args:
            inputs: Queries and, in the same order, their videos.
            data_samples: B samples with ``gt_span`` and ``video_id``.
        """
        pairs = self.encode_pair(inputs)
        video_ids = torch.tensor([s.video_id for s in data_samples], device=pairs.clip_mask.device)
        same_video = video_ids[:, None] == video_ids
        spans = torch.stack([sample.gt_span for sample in data_samples])

        scores = video_scores(pairs.queries, pairs.level(3), pairs.clip_mask)
        by_query, by_video = self.loss_ranking(scores, same_video)
        losses = dict(loss_rank_query=by_query, loss_rank_video=by_video)
        losses['loss_span'] = self.loss_span(*self._paired_logits(pairs), spans)
        second = pairs.level(2)
        if self.loss_frame is not None:
            losses['loss_frame_cl'] = self.loss_frame(pairs.queries, second, pairs.clip_mask, spans)
        if self.loss_video is not None:
            losses['loss_video_cl'] = self.loss_video(
                pairs.queries, second, pairs.clip_mask, same_video
            )
        return losses

    def _paired_logits(self, pairs: EncodedPairs) -> tuple[Tensor, Tensor]:
        """Start and end logits (B, L) of each query in its own video."""
        queries = self.span_predictor.map_queries(pairs.queries)
        similarity = pair_similarity(queries, pairs.level(3))
        return self.span_predictor(similarity, pairs.clip_mask, self.padding)

    def predict(
        self,
        inputs: dict[str, Tensor],
        data_samples: list[MomentDataSample],
        corpus: VideoCorpus,
    ) -> list[MomentDataSample]:
        """Rank the corpus for each query.

        Args:
            inputs: ``query`` and ``query_mask``.
            data_samples: B samples. Where one knows its ``video_id``, SVMR is answered too.
            corpus: The encoded videos.

        Returns:
            The samples with ``pred_vr``, ``pred_vcmr`` and ``pred_svmr``, on the CPU.
        """
        queries = self.encode_query(inputs)
        scores = video_scores(queries, corpus.features, corpus.clip_mask)
        best, rows = rank_videos(scores, self.ranking.num_videos)
        weights = torch.exp(self.ranking.alpha * best)
        ranked_videos = video_predictions(corpus, best, rows)
        ranked_moments = self._rank_moments(queries, corpus, rows, weights)
        for sample, videos, moments in zip(
            data_samples, ranked_videos, ranked_moments, strict=True
        ):
            sample.pred_vr = videos
            sample.pred_vcmr = moments
        self._predict_in_own_video(queries, data_samples, corpus)
        return data_samples

    def _predict_in_own_video(
        self,
        queries: dict[str, Tensor],
        data_samples: list[MomentDataSample],
        corpus: VideoCorpus,
    ) -> None:
        """Add ``pred_svmr`` to the samples that name their video."""
        known = [i for i, sample in enumerate(data_samples) if 'video_id' in sample]
        if not known:
            return
        rows = own_rows(corpus, [data_samples[i].video_id for i in known])
        queries = {name: x[known] for name, x in queries.items()}
        ranked = self._rank_moments(queries, corpus, rows, torch.ones_like(rows).float())
        for i, moments in zip(known, ranked, strict=True):
            data_samples[i].pred_svmr = moments

    def _rank_moments(
        self, queries: dict[str, Tensor], corpus: VideoCorpus, rows: Tensor, weights: Tensor
    ) -> list[InstanceData]:
        """Ranked moments in the videos ``rows`` (Q, V) of each query."""
        similarity = similarity_in_videos(
            self.span_predictor.map_queries(queries), corpus.features, rows
        )
        logits = self.span_predictor(similarity, corpus.clip_mask[rows], self.padding)
        return moment_predictions(*logits, corpus, rows, weights, self.ranking)

    def _tensors(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of queries beside their own videos, for mode ``tensor``."""
        pairs = self.encode_pair(inputs)
        start_logits, end_logits = self._paired_logits(pairs)
        return dict(
            video_scores=video_scores(pairs.queries, pairs.level(3), pairs.clip_mask),
            start_logits=start_logits,
            end_logits=end_logits,
        )


def _check_width(name: str, features: Tensor, expected: int) -> None:
    if features.shape[-1] != expected:
        raise InputError(
            f'{name} features are {features.shape[-1]} wide and the model was built for '
            f'{expected}: set query_channels or streams in the model config to the width of your '
            'features, two more where AppendTEF appends its columns'
        )
