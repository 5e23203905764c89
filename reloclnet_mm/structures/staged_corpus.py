"""A corpus encoded by the two stages of a retriever."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.structures.corpus import EncodedCorpus


@dataclass(frozen=True)
class StagedCorpus:
    """The same videos encoded by two models, which may see clips of other features and lengths.

    Attributes:
        first: Rows of the first stage.
        second: Rows of the second stage.
    """

    first: EncodedCorpus
    second: EncodedCorpus

    def __len__(self) -> int:
        return len(self.second)

    @property
    def video_names(self) -> tuple[str, ...]:
        """The names of the videos, in the order of the second stage."""
        return self.second.video_names

    @property
    def video_ids(self) -> Tensor:
        """(N,) int64, the numbers of the videos, in the order of the second stage."""
        return self.second.video_ids

    @property
    def device(self) -> torch.device:
        """Device of the rows."""
        return self.second.device

    def to(self, device: torch.device | str) -> 'StagedCorpus':
        """Copy the rows to another device."""
        return StagedCorpus(self.first.to(device), self.second.to(device))

    def half(self) -> 'StagedCorpus':
        """Round the rows to float16; see :meth:`EncodedCorpus.half`."""
        return StagedCorpus(self.first.half(), self.second.half())

    def float(self) -> 'StagedCorpus':
        """Give the rows as float32."""
        return StagedCorpus(self.first.float(), self.second.float())

    def select_ids(self, video_ids: Collection[int]) -> 'StagedCorpus':
        """Take the videos of some ids; see :meth:`EncodedCorpus.select_ids`."""
        return StagedCorpus(self.first.select_ids(video_ids), self.second.select_ids(video_ids))

    @staticmethod
    def merge(parts: Sequence['StagedCorpus']) -> 'StagedCorpus':
        """Join corpora into one; see :meth:`EncodedCorpus.merge`."""
        return StagedCorpus(
            EncodedCorpus.merge([part.first for part in parts]),
            EncodedCorpus.merge([part.second for part in parts]),
        )

    def save(self, folder: str | Path, *, model_checksum: str) -> None:
        """Write the corpus to a folder; see :meth:`EncodedCorpus.save`."""
        self.first.save(Path(folder) / 'first', model_checksum=model_checksum)
        self.second.save(Path(folder) / 'second', model_checksum=model_checksum)

    @staticmethod
    def load(folder: str | Path, *, model_checksum: str | None = None) -> 'StagedCorpus':
        """Read a corpus; see :meth:`EncodedCorpus.load`.

        Raises:
            InputError: There is no such corpus, it is damaged, or another model encoded it.
        """
        first, second = (
            EncodedCorpus.load(Path(folder) / stage, model_checksum=model_checksum)
            for stage in ('first', 'second')
        )
        if {*first.video_ids.tolist()} != {*second.video_ids.tolist()}:
            raise InputError(
                f'{folder}: found {len(first)} videos of the first stage and {len(second)} others '
                'of the second, expected the same; remove the folder and encode the corpus again'
            )
        return StagedCorpus(first, second)
