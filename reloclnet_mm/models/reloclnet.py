"""ReLoCLNet (Zhang et al., SIGIR 2021)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from reloclnet_mm.models.base import CorpusRetriever
from reloclnet_mm.models.encoded_pairs import EncodedPairs
from reloclnet_mm.models.pair_targets import PairTargets
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.similarity import (
    largest_similarity,
    similarity_in_own_video,
    similarity_of_all,
)
from reloclnet_mm.structures import PackedRows
from reloclnet_mm.structures.corpus import RowSets


@MODELS.register_module()
class ReLoCLNet(CorpusRetriever):
    """Aligns queries with videos (VideoCL) and with clips (FrameCL) by contrastive losses.

    Videos are scored and spans predicted on the output of the last of three attention blocks; the
    contrastive losses read the one before it (method of the paper, section 3).

    Args:
        loss_frame: Config of :class:`~reloclnet_mm.models.losses.FrameContrastiveLoss`; None
            trains without FrameCL.
        loss_video: Config of :class:`~reloclnet_mm.models.losses.VideoContrastiveLoss`; None
            trains without VideoCL.
        **settings: Arguments of :class:`~reloclnet_mm.models.base.CorpusRetriever`.
    """

    def __init__(
        self,
        *,
        loss_frame: dict | None = None,
        loss_video: dict | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.loss_frame = MODELS.build(loss_frame) if loss_frame else None
        self.loss_video = MODELS.build(loss_video) if loss_video else None

    def encode_context(self, inputs: Mapping[str, PackedRows]) -> RowSets:
        """Encode videos; ``contrast`` holds the rows that the contrastive losses read."""
        blocks = self.encode_clips(inputs)
        final = {name: outputs[-1] for name, outputs in blocks.items()}
        contrast = {name: outputs[-2] for name, outputs in blocks.items()}
        return dict(retrieval=final, localization=final, contrast=contrast)

    def losses(self, pairs: EncodedPairs, targets: PairTargets) -> dict[str, Tensor]:
        """Compute the ranking, span and contrastive losses (paper, section 3.4)."""
        losses = super().losses(pairs, targets)
        if self.loss_frame is None and self.loss_video is None:
            return losses
        similarity = similarity_of_all(pairs.queries, pairs.rows['contrast'])
        if self.loss_frame is not None:
            rows, clip_mask = pairs.layout.pad(pairs.places)
            own = {name: similarity_in_own_video(x, rows) for name, x in similarity.items()}
            right_clips = targets.right_clips(clip_mask.shape[1])
            losses['loss_frame_cl'] = self.loss_frame(own, clip_mask, targets.spans, right_clips)
        if self.loss_video is not None:
            largest = largest_similarity(similarity, pairs.layout)[:, pairs.places]
            losses['loss_video_cl'] = self.loss_video(largest, targets.right_videos)
        return losses
