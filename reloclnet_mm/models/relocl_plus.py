"""ReLoCLNet's idea with encoders that begin at pretrained features."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reloclnet_mm.models.base import CorpusRetriever
from reloclnet_mm.models.encoded_pairs import EncodedPairs
from reloclnet_mm.models.pair_targets import PairTargets
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.map_search import MapSearch
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample, PackedRows
from reloclnet_mm.structures.corpus import RowSets
from reloclnet_mm.structures.span_grid import span_grid, start_and_end
from reloclnet_mm.utils.checks import check_number

_INIT = dict(type='Normal', layer=['Linear', 'Embedding', 'Conv1d'], std=0.04, bias=0.0)


@MODELS.register_module()
class ReLoCLNetPlus(CorpusRetriever):
    """Encodes queries and videos apart, from pretrained features on, and scores spans as a map.

    As ReLoCLNet it ranks videos by the largest cosine over their clips and contrasts the videos of
    a batch. It differs in three things: encoders add to features what they learn and begin with
    nothing, so that untrained it ranks videos as
    :class:`~reloclnet_mm.models.nearest.NearestClip`; all videos of a batch are negatives; and
    moments come from a distribution over all spans
    (:class:`~reloclnet_mm.models.span_maps.SpanMapHead`).

    Args:
        max_iou: Largest IoU of two moments of a video in a list, below 1.
        query_channels: Width of the token features, and of the encoded clips.
        context_encoder: Config of the context encoder.
        init_cfg: Initialization; None: weights from N(0, 0.04), biases 0.
        **settings: Arguments of :class:`~reloclnet_mm.models.base.CorpusRetriever`.
            ``test_cfg.span_end`` is ``inclusive``.
    """

    def __init__(
        self,
        *,
        max_iou: float = 0.5,
        query_channels: int,
        context_encoder: dict,
        init_cfg: dict | list[dict] | None = None,
        **settings: Any,
    ) -> None:
        # At 1 a span would not exclude itself, and be chosen again and again.
        check_number('ReLoCLNetPlus: max_iou', max_iou, low=0, high=0.999)
        super().__init__(
            query_channels=query_channels,
            context_encoder=dict(out_channels=query_channels) | context_encoder,
            init_cfg=init_cfg or _INIT,
            **settings,
        )
        if self.ranking.span_end != 'inclusive':
            raise ValueError(
                f'ReLoCLNetPlus: test_cfg.span_end is {self.ranking.span_end!r}, expected '
                "'inclusive': a span has the clips from its first to its last"
            )
        self.max_iou = max_iou

    def encode_context(self, inputs: Mapping[str, PackedRows]) -> RowSets:
        """Encode videos: unit vectors to score them by, and rows to find moments by."""
        encoded = self.encode_clips(inputs)
        return dict(
            retrieval={name: units for name, (units, _) in encoded.items()},
            localization={name: rows for name, (_, rows) in encoded.items()},
        )

    def moment_search(self, corpus: EncodedCorpus) -> MapSearch:
        """Make the search for the spans that are most probably right."""
        return MapSearch(corpus, self.score_spans, *self._span_sizes, self.max_iou)

    def score_spans(
        self,
        queries: Mapping[str, Tensor],
        clips: Mapping[str, Mapping[str, Tensor]],
        lengths: Tensor,
        grid: Tensor,
        min_clips: int,
    ) -> Tensor:
        """Compute the logits (P, S) of spans; see :class:`~reloclnet_mm.models.SpanMapHead`.

        Args:
            queries: Stream name to (P, query_channels), unit vectors, and ``moment`` to (P, d).
            clips: ``retrieval`` and ``localization`` to stream name to (P, L, width).
            lengths: (P,) int64, valid clips of each video.
            grid: (S, 2) int64.
            min_clips: Least length of a span.
        """
        units = clips['retrieval']
        similarity = sum(
            (x @ queries[name][..., None]).squeeze(2) for name, x in units.items()
        ) / len(units)
        return self.span_head(
            queries['moment'], clips['localization'], similarity, lengths, grid, min_clips
        )

    def losses(self, pairs: EncodedPairs, targets: PairTargets) -> dict[str, Tensor]:
        """Compute the ranking and span losses of an encoded batch."""
        by_query, by_video = self.loss_ranking(
            self.retrieval_scores(pairs), targets.right_videos, targets.sources
        )
        logits, grid = self._own_logits(pairs)
        return dict(
            loss_rank_query=by_query,
            loss_rank_video=by_video,
            loss_span=self.loss_span(logits, grid, targets.moments),
        )

    def _check_targets(self, sample: MomentDataSample) -> None:
        """Accept targets of any ``span_end`` that have ``gt_moment``, which is learned from."""
        if 'gt_moment' not in sample:
            super()._check_targets(sample)

    @property
    def _span_sizes(self) -> tuple[int, int]:
        """Least and largest number of clips of a span."""
        return self.ranking.min_span, self.ranking.max_span - 1

    def paired_logits(self, pairs: EncodedPairs) -> tuple[Tensor, Tensor]:
        """Compute the log probabilities (B, L) that each query's moment begins, and ends, there."""
        logits, grid = self._own_logits(pairs)
        _, mask = pairs.layout.pad(pairs.places)
        least = torch.finfo(logits.dtype).min
        start, end = (
            x.log().masked_fill(~mask, least)
            for x in start_and_end(logits.softmax(1), grid, mask.shape[1])
        )
        return start, end

    def _own_logits(self, pairs: EncodedPairs) -> tuple[Tensor, Tensor]:
        """Compute the logits (B, S) of each query in its own video, and the grid (S, 2)."""
        rows, _ = pairs.layout.pad(pairs.places)
        clips = {
            use: {name: x[rows] for name, x in streams.items()}
            for use, streams in pairs.rows.items()
        }
        grid = span_grid(rows.shape[1], *self._span_sizes).to(rows.device)
        lengths = pairs.layout.lengths[pairs.places]
        return self.score_spans(pairs.queries, clips, lengths, grid, self._span_sizes[0]), grid
