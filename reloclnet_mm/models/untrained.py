"""What models without parameters share."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import NoReturn

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.corpus_model import CorpusModel
from reloclnet_mm.structures import MomentDataSample, PackedRows


class UntrainedModel(CorpusModel):
    """Ranks a corpus without anything learned; the base of baselines.

    Such a model needs no checkpoint and cannot be trained.
    """

    @abstractmethod
    def encoding(self) -> str:
        """Describe what an encoded corpus depends on, in place of weights."""

    def checksum(self) -> str:
        """Compute the SHA-256 of what an encoded corpus depends on beside its features."""
        return hashlib.sha256(f'{type(self).__name__} {self.encoding()}'.encode()).hexdigest()

    def loss(
        self, inputs: dict[str, PackedRows], data_samples: Sequence[MomentDataSample]
    ) -> NoReturn:
        """Refuse to train.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f'{type(self).__name__} has nothing to train; evaluate it with tools/test.py'
        )

    def _tensors(self, inputs: dict[str, PackedRows]) -> NoReturn:
        raise InputError(
            f"{type(self).__name__} computes no outputs for mode='tensor'; it ranks with "
            "mode='predict'"
        )
