"""CONQUER (Hou et al., "Contextual Query-aware Ranking for Video Corpus Moment Retrieval").

ACM MM 2021.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reloclnet_mm.models.encoding_model import check_width, streams_of
from reloclnet_mm.models.interaction import AttentionFlow, StreamWeights
from reloclnet_mm.models.layers import Padding, ProjectedLayer, self_attention_masks
from reloclnet_mm.models.second_stage import SecondStage
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.moment_search import VideoPairs
from reloclnet_mm.retrieval.pair_scores import EncodedWords, PairScores
from reloclnet_mm.structures import PackedRows, RowLayout
from reloclnet_mm.structures.corpus import RowSets
from reloclnet_mm.utils.checks import check_choice

_INIT = dict(type='Normal', layer=['Linear', 'Embedding'], std=0.02, bias=0.0)


@MODELS.register_module()
class CONQUER(SecondStage):
    """Fuses the streams of a video as the query asks, then lets words and clips meet.

    Encoders and heads are sub-configs: they get the sizes of the model and override them.

    Args:
        streams: Stream name to the width of its clip features: ``dict(video=4352, subtitle=768)``,
            or one of the two.
        query_channels: Width of the token features of a query.
        query_encoder: Config of the encoder of tokens.
        context_encoder: Config of the encoder of clips.
        moment_head: Config of the head that scores first and last clips.
        video_head: Config of the head that scores videos, for ``scoring='exclusive'``.
        embed_dims: Width of the model.
        num_heads: Number of attention heads.
        feedforward_dims: Width inside the feed-forward parts.
        num_clusters: Number of clusters that a query is pooled by, to weigh two streams.
        input_dropout: Dropout probability on the normalized features.
        dropout: Dropout probability everywhere else.
        padding: See :data:`~reloclnet_mm.models.layers.Padding`. ``official``: padded tokens
            count in the weights of the streams, and padded clips in the scores of the last clips
            and of videos; batches are then padded as the authors' program pads them, by the
            ``pad_clips_to`` and ``pad_tokens_to`` of the data preprocessor.
        init_cfg: Initialization; None: Linear and Embedding weights from N(0, 0.02) and Linear
            biases 0.
        **settings: Arguments of :class:`~reloclnet_mm.models.second_stage.SecondStage`.
    """

    def __init__(
        self,
        *,
        streams: Mapping[str, int],
        query_channels: int,
        query_encoder: dict,
        context_encoder: dict,
        moment_head: dict,
        video_head: dict | None = None,
        embed_dims: int = 768,
        num_heads: int = 12,
        feedforward_dims: int = 3072,
        num_clusters: int = 32,
        input_dropout: float = 0.1,
        dropout: float = 0.1,
        padding: Padding = 'independent',
        init_cfg: dict | list[dict] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(init_cfg=init_cfg or _INIT, **settings)
        check_choice('CONQUER: padding', padding, ('independent', 'official'))
        if self.scores_videos != (video_head is not None):
            raise ValueError(
                f'CONQUER: scoring is {self.scoring!r} and video_head is {video_head!r}, expected '
                "a head with 'exclusive' and with nothing else"
            )
        self.padding = padding
        sizes = dict(embed_dims=embed_dims, num_heads=num_heads, feedforward_dims=feedforward_dims)
        parts = dict(sizes, dropout=dropout, padding=padding)
        encoders = dict(parts, input_dropout=input_dropout)
        self.query_encoder = MODELS.build(
            dict(encoders, in_channels=query_channels) | query_encoder
        )
        self.context_encoder = MODELS.build(dict(encoders, in_channels=streams) | context_encoder)
        self.stream_weights = (
            StreamWeights(embed_dims, len(streams), num_clusters, dropout)
            if len(streams) > 1
            else None
        )
        self.flow = AttentionFlow(embed_dims)
        self.flow_layer = ProjectedLayer(4 * embed_dims, **sizes, dropout=dropout)
        self.moment_head = MODELS.build(parts | moment_head)
        self.video_head = MODELS.build(parts | video_head) if video_head else None

    def encode_words(self, inputs: Mapping[str, PackedRows]) -> EncodedWords:
        """Encode the tokens of queries; see :meth:`SecondStage.encode_words`."""
        query = inputs['query']
        check_width('query', query.features['query'], self.query_encoder.in_channels)
        x = self.query_encoder(query.features['query'], query.layout)
        rows, mask = query.layout.pad(query.places)
        tokens = x[rows]
        if self.stream_weights is None:
            weights = tokens.new_ones(len(tokens), 1)
        else:
            counted = mask if self.padding == 'independent' else None
            weights = self.stream_weights(tokens, counted)
        return EncodedWords(tokens, mask, weights)

    def encode_context(self, inputs: Mapping[str, PackedRows]) -> RowSets:
        """Encode videos up to where a query fuses their streams: ``interaction``."""
        packed = inputs['clips']
        clips = streams_of(packed, self.context_encoder.in_channels)
        return dict(interaction=self.context_encoder(clips, packed.layout))

    def rows_to_keep(self, layout: RowLayout) -> Tensor:
        """Count the rows (N,) int64 of each video that are kept in an encoded corpus."""
        return layout.lengths if self.padding == 'independent' else layout.rows_of_each

    def score_pairs(
        self,
        words: EncodedWords,
        rows: Mapping[str, Tensor],
        layout: RowLayout,
        pairs: VideoPairs,
    ) -> PairScores:
        """Score pairs; see :meth:`SecondStage.score_pairs`."""
        chosen, owner = layout.rows_of(pairs.videos)
        layout = layout.chosen(pairs.videos)
        masks = self_attention_masks(layout, self.padding)
        asked = words.map(lambda x: x[pairs.queries])
        clips = self._fuse({name: x[chosen] for name, x in rows.items()}, asked, owner)
        flow = self._flow(clips, asked, layout)
        context = self.flow_layer(flow, layout, masks)
        features = torch.cat([flow, context], 1)
        logits = self.moment_head(features, context, layout, masks)
        at, clip_mask = layout.pad(torch.arange(len(layout), device=chosen.device))
        start, end = (x.float()[at] for x in logits)
        least = torch.finfo(torch.float32).min
        return PairScores(
            start.masked_fill(~clip_mask, least),
            end.masked_fill(~clip_mask, least),
            self.video_head(features, layout, masks) if self.video_head else None,
        )

    def _fuse(self, rows: Mapping[str, Tensor], words: EncodedWords, owner: Tensor) -> Tensor:
        """Weigh the streams of P pairs, whose rows (R, d) belong to the pairs ``owner`` (R,)."""
        if len(rows) == 1:
            return next(iter(rows.values()))
        weights = words.stream_weights[owner].unbind(1)
        return sum(w[:, None] * x for w, x in zip(weights, rows.values(), strict=True))

    def _flow(self, clips: Tensor, words: EncodedWords, layout: RowLayout) -> Tensor:
        """(R, d) to (R, 4d), block by block."""
        counts = [block.count for block in layout.blocks]
        tokens, token_masks = words.tokens.split(counts), words.mask.split(counts)
        return layout.join(
            [
                self.flow(*part)
                for part in zip(layout.split(clips), tokens, layout.masks, token_masks, strict=True)
            ]
        )
