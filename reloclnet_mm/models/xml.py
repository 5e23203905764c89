"""XML (Lei et al., "TVR: A Large-Scale Dataset for Video-Subtitle Moment Retrieval", ECCV 2020)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from reloclnet_mm.models.base import CorpusRetriever
from reloclnet_mm.models.encoded_pairs import EncodedPairs
from reloclnet_mm.models.pair_targets import PairTargets
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import PackedRows
from reloclnet_mm.structures.corpus import RowSets


@MODELS.register_module()
class XML(CorpusRetriever):
    """Scores videos early and predicts spans late; the model that ReLoCLNet builds on.

    Videos are scored on the output of the first attention block, before streams attend to each
    other, and spans are predicted on that of the last (section 4 of the paper). With two streams
    the original has two blocks and one span head for both; with one stream, or without crosswise
    attention, it has three blocks and a span head a stream
    (:class:`~reloclnet_mm.models.span_heads.StreamSpanHead`).

    Args:
        loss_ranking: Config of :class:`~reloclnet_mm.models.losses.RankingLoss`.
        loss_span: Config of :class:`~reloclnet_mm.models.losses.SpanLoss`.
        **settings: Arguments of :class:`~reloclnet_mm.models.base.CorpusRetriever`.
    """

    def __init__(self, *, loss_ranking: dict, loss_span: dict, **settings: Any) -> None:
        super().__init__(**settings)
        self.loss_ranking = MODELS.build(loss_ranking)
        self.loss_span = MODELS.build(loss_span)

    def encode_context(self, inputs: Mapping[str, PackedRows]) -> RowSets:
        """Encode videos; the two uses have rows of their own."""
        blocks = self.encode_clips(inputs)
        return dict(
            retrieval={name: outputs[0] for name, outputs in blocks.items()},
            localization={name: outputs[-1] for name, outputs in blocks.items()},
        )

    def losses(self, pairs: EncodedPairs, targets: PairTargets) -> dict[str, Tensor]:
        """Compute the ranking and span losses (paper, section 4)."""
        scores = self.retrieval_scores(pairs)
        by_query, by_video = self.loss_ranking(scores, targets.right_videos)
        return dict(
            loss_rank_query=by_query,
            loss_rank_video=by_video,
            loss_span=self.loss_span(*self.paired_logits(pairs), targets.spans),
        )
