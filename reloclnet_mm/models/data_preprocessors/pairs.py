"""From lists of queries that bring several videos to packed batches."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from reloclnet_mm.models.data_preprocessors.packing import MomentDataPreprocessor, pack
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample, PackedRows
from reloclnet_mm.utils.checks import check_count


@MODELS.register_module()
class PairDataPreprocessor(MomentDataPreprocessor):
    """Packs queries and the videos that come with each, each video of a batch once.

    A sample with ``candidate_ids`` and ``candidate_clips`` brings the videos of these ids, whose so
    many clips follow each other; all samples of a batch bring as many videos. The places of the
    packed clips are then (B, V).

    Args:
        slack: Passed to :class:`MomentDataPreprocessor`.
        pad_clips_to: Passed to :class:`MomentDataPreprocessor`.
        pad_tokens_to: Pad queries to this many rows, all in one block. The authors' program pads
            to its maximum of 30, which its results depend on; ours do not.
    """

    def __init__(
        self,
        slack: float = 0.125,
        pad_clips_to: int | None = None,
        pad_tokens_to: int | None = None,
    ) -> None:
        super().__init__(slack, pad_clips_to)
        if pad_tokens_to is not None:
            check_count('PairDataPreprocessor: pad_tokens_to', pad_tokens_to)
        self.pad_tokens_to = pad_tokens_to

    def pack_queries(self, tokens: list[Tensor]) -> PackedRows:
        """Pack the tokens (T, channels) of B queries."""
        return pack({'query': tokens}, range(len(tokens)), self.slack, self.pad_tokens_to)

    def pack_clips(
        self, clips: dict[str, list[Tensor]], samples: Sequence[MomentDataSample]
    ) -> PackedRows:
        """Pack the clips of the videos of B samples, stream by stream."""
        if 'candidate_ids' not in samples[0]:
            return super().pack_clips(clips, samples)
        ids = [video_id for sample in samples for video_id in sample.candidate_ids]
        videos = {
            name: [
                video
                for rows, sample in zip(x, samples, strict=True)
                for video in rows.split(sample.candidate_clips)
            ]
            for name, x in clips.items()
        }
        packed = pack(videos, ids, self.slack, self.pad_clips_to)
        return replace(packed, places=packed.places.view(len(samples), -1))
