"""What models share that encode videos by themselves."""

from abc import ABCMeta, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from mmengine.model import BaseModel
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.checks import wrong_width
from reloclnet_mm.structures import EncodedCorpus, PackedRows, RowLayout
from reloclnet_mm.structures.corpus import RowSets, map_rows
from reloclnet_mm.utils.checksums import state_checksum


class EncodingModel(BaseModel, metaclass=ABCMeta):
    """Encodes videos without a query, so that a corpus is encoded once for all of them.

    Args:
        data_preprocessor: Passed to mmengine's BaseModel, as ``init_cfg`` is.
        init_cfg: Initialization.
    """

    kept_rows: tuple[str, ...] = ('retrieval', 'localization')
    """Row sets of :meth:`encode_context` that an encoded corpus keeps."""

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

    @torch.no_grad()
    def encode_corpus(self, batches: Iterable[dict]) -> EncodedCorpus:
        """Encode a corpus.

        Args:
            batches: What a dataloader over a corpus data set yields.

        Raises:
            InputError: There is no video in it.
        """
        parts = [self.encode_videos(self.data_preprocessor(batch)) for batch in batches]
        if not parts:
            raise InputError('the corpus has no video to rank')
        return EncodedCorpus.merge(parts)

    def encode_videos(self, data: dict) -> EncodedCorpus:
        """Encode the videos of a batch that has passed the data preprocessor."""
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

    def checksum(self) -> str:
        """Compute the SHA-256 of the weights; an encoded corpus belongs to one of them."""
        return state_checksum(self.state_dict())


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
