"""What all trained models share that encode queries and videos apart."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor

from reloclnet_mm.models.corpus_model import CorpusModel
from reloclnet_mm.models.encoded_pairs import (
    EncodedPairs,
    gather_pairs,
    same_draws_in_all_processes,
)
from reloclnet_mm.models.encoding_model import check_width, streams_of
from reloclnet_mm.models.layers import Padding
from reloclnet_mm.models.pair_targets import PairTargets
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.moment_search import MomentSearch
from reloclnet_mm.retrieval.similarity import (
    similarity_in_own_video,
    similarity_of_all,
    video_scores,
)
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample, PackedRows, RowLayout
from reloclnet_mm.structures.corpus import map_rows
from reloclnet_mm.utils.checks import check_choice

_PAPER_INIT = dict(type='Normal', layer=['Linear', 'Embedding'], std=0.02, bias=0.0)


class CorpusRetriever(CorpusModel):
    """Encodes queries and videos by networks and predicts spans; the base of all trained models.

    A subclass says which encoded rows serve what (:meth:`encode_context`), and adds losses to
    those of ranking and spans, if it has more (:meth:`losses`). Encoders and span head are
    sub-configs: they get the sizes of the model and override them.

    Args:
        streams: Stream name to the width of its clip features, position columns included:
            ``dict(video=3074, subtitle=770)``, or one of the two.
        query_channels: Width of the token features of a query.
        query_encoder: Config of the query encoder.
        context_encoder: Config of the context encoder.
        span_head: Config of the span head.
        loss_ranking: Config of :class:`~reloclnet_mm.models.losses.RankingLoss`.
        loss_span: Config of :class:`~reloclnet_mm.models.losses.SpanLoss`.
        embed_dims: Width of the model.
        num_heads: Number of attention heads.
        input_dropout: Dropout probability on the normalized features.
        dropout: Dropout probability everywhere else.
        padding: See :data:`~reloclnet_mm.models.layers.Padding`.
        gather_negatives: Whether the batches of all processes are contrasted as one, so that N
            processes with batches of B compute what one computes with N · B. Otherwise each
            contrasts within its own batch. In a single process it makes no difference.
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
        query_encoder: dict,
        context_encoder: dict,
        span_head: dict,
        loss_ranking: dict,
        loss_span: dict,
        embed_dims: int = 384,
        num_heads: int = 8,
        input_dropout: float = 0.1,
        dropout: float = 0.1,
        padding: Padding = 'independent',
        gather_negatives: bool = False,
        test_cfg: Mapping[str, Any] | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg or _PAPER_INIT,
        )
        name = type(self).__name__
        check_choice(f'{name}: padding', padding, ('independent', 'official'))
        if gather_negatives and padding == 'official':
            raise ValueError(
                f"{name}: gather_negatives=True needs padding='independent'; with 'official' "
                'results depend on how far a batch is padded, and processes pad apart'
            )
        self.padding = padding
        self.gather_negatives = gather_negatives
        names, sizes = tuple(streams), dict(embed_dims=embed_dims)
        encoders = dict(
            sizes,
            num_heads=num_heads,
            input_dropout=input_dropout,
            dropout=dropout,
            padding=padding,
        )
        self.query_encoder = MODELS.build(
            dict(encoders, in_channels=query_channels, streams=names) | query_encoder
        )
        self.context_encoder = MODELS.build(dict(encoders, in_channels=streams) | context_encoder)
        self.span_head = MODELS.build(dict(sizes, streams=names) | span_head)
        self.loss_ranking = MODELS.build(loss_ranking)
        self.loss_span = MODELS.build(loss_span)

    def losses(self, pairs: EncodedPairs, targets: PairTargets) -> dict[str, Tensor]:
        """Compute the weighted ranking and span losses of an encoded batch, outside of autocast.

        Args:
            pairs: B queries and their videos.
            targets: Their moments, and what else is right for the queries.
        """
        by_query, by_video = self.loss_ranking(self.retrieval_scores(pairs), targets.right_videos)
        return dict(
            loss_rank_query=by_query,
            loss_rank_video=by_video,
            loss_span=self.loss_span(*self.paired_logits(pairs), targets.spans),
        )

    def encode_query(self, inputs: Mapping[str, PackedRows]) -> dict[str, Tensor]:
        """Encode queries by themselves.

        Args:
            inputs: ``query``, whose feature ``query`` is (R, query_channels).

        Returns:
            Stream name to (B, d), float32.
        """
        query = inputs['query']
        tokens = query.features['query']
        check_width('query', tokens, self.query_encoder.in_channels)
        encoded = self.query_encoder(tokens, query.layout)
        return {name: x[query.places].float() for name, x in encoded.items()}

    def encode_clips(self, inputs: Mapping[str, PackedRows]) -> dict[str, tuple[Tensor, ...]]:
        """Run the context encoder on checked inputs; for :meth:`encode_context` to name its rows.

        Args:
            inputs: ``clips``, whose features are the streams, each (R, channels).

        Returns:
            What the context encoder returns: stream name to (R, d) of each block.

        Raises:
            InputError: A stream is missing or has another width.
        """
        packed = inputs['clips']
        clips = streams_of(packed, self.context_encoder.in_channels)
        return self.context_encoder(clips, packed.layout)

    def encode_pair(self, inputs: Mapping[str, PackedRows]) -> EncodedPairs:
        """Encode queries and, beside them, the video of each."""
        clips = inputs['clips']
        rows = map_rows(self.encode_context(inputs), Tensor.float)
        return EncodedPairs(self.encode_query(inputs), rows, clips.layout, clips.places)

    def moment_search(self, corpus: EncodedCorpus) -> MomentSearch:
        """Make the search for spans by the span head."""
        return MomentSearch(corpus, self.span_head)

    def rows_to_keep(self, layout: RowLayout) -> Tensor:
        """Count the rows (N,) int64 of each video that are kept in an encoded corpus."""
        if self.padding == 'independent':
            return super().rows_to_keep(layout)
        # The convolution sees so many rows of padding behind the last clip.
        return torch.minimum(layout.lengths + self.span_head.reach, layout.rows_of_each)

    def loss(
        self, inputs: dict[str, PackedRows], data_samples: Sequence[MomentDataSample]
    ) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch.

        Args:
            inputs: Queries and, in the same order, their videos.
            data_samples: B samples, as :meth:`PairTargets.of` takes them.

        Raises:
            InputError: ``span_end`` of the targets is not that of the model.
        """
        pairs = self.encode_pair(inputs)
        device = pairs.places.device
        self._check_targets(data_samples[0])
        targets = PairTargets.of(data_samples, device)
        # Scores differ in digits that bfloat16 does not have.
        with ExitStack() as context:
            context.enter_context(torch.autocast(device.type, enabled=False))
            if self.gather_negatives and get_world_size() > 1:
                pairs, targets = gather_pairs(pairs), targets.gathered()
                context.enter_context(same_draws_in_all_processes(device))
            return self.losses(pairs, targets)

    def retrieval_scores(self, pairs: EncodedPairs) -> Tensor:
        """Compute s of each query and the video of each query, (B, B)."""
        clips = pairs.rows['retrieval']
        queries = {name: pairs.queries[name] for name in clips}
        scores = video_scores(queries, clips, pairs.layout)
        return scores[:, pairs.places]

    def paired_logits(self, pairs: EncodedPairs) -> tuple[Tensor, Tensor]:
        """Compute start and end logits (B, L) of each query in its own video."""
        rows, clip_mask = pairs.layout.pad(pairs.places)
        mapped = self.span_head.map_queries(pairs.queries)
        products = similarity_of_all(mapped, pairs.rows['localization'])
        own = {name: similarity_in_own_video(x, rows) for name, x in products.items()}
        if self.padding == 'independent':
            own = {name: x.masked_fill(~clip_mask, 0) for name, x in own.items()}
        return self.span_head(own, clip_mask)

    def _tensors(self, inputs: dict[str, PackedRows]) -> dict[str, Tensor]:
        """Compute the outputs of queries beside their own videos, for mode ``tensor``."""
        pairs = self.encode_pair(inputs)
        start_logits, end_logits = self.paired_logits(pairs)
        return dict(
            video_scores=self.retrieval_scores(pairs),
            start_logits=start_logits,
            end_logits=end_logits,
        )
