"""Clip features of what is said in videos, and token features of queries, by a text encoder."""

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reloclnet_mm.extraction.content import VideoContent
from reloclnet_mm.extraction.extraction import pool_video
from reloclnet_mm.extraction.pooling import PoolMode
from reloclnet_mm.extraction.text import TextEncoder
from reloclnet_mm.registry import EXTRACTORS


@EXTRACTORS.register_module()
class TextFeatures:
    """Makes features of sentences: of videos a row a clip, of queries a row a token.

    The encoder is loaded at first use.

    Args:
        encoder: See :class:`~reloclnet_mm.extraction.text.TextEncoder`.
        max_tokens: Longer texts are cut to this many tokens.
        pool: Over the tokens of all sentences of a clip.
        batch_size: Texts that pass through the encoder together.
        device: As PyTorch names it.
    """

    reads = 'sentences'

    def __init__(
        self,
        *,
        encoder: str | os.PathLike,
        max_tokens: int = 64,
        pool: PoolMode = 'mean',
        batch_size: int = 32,
        device: str = 'cpu',
    ) -> None:
        self.name = str(encoder)
        self.max_tokens = max_tokens
        self.pool = pool
        self.batch_size = batch_size
        self.device = device

    @property
    def width(self) -> int:
        """Width of a row."""
        return self._encoder.width

    def identity(self) -> dict[str, Any]:
        """Return what the features depend on."""
        return dict(
            type=type(self).__name__,
            encoder=self.name,
            weights=self._checksum,
            max_tokens=self.max_tokens,
            pool=self.pool,
        )

    def extract(self, video: VideoContent, clip_length: float) -> NDArray[np.float32]:
        """Make the features (L, width) of a video; zeros for clips in which nothing is said.

        Args:
            video: The video.
            clip_length: Seconds.
        """
        return pool_video(
            video.sentences,
            lambda sentences: self.encode([sentence.text for sentence in sentences]),
            video.duration,
            clip_length,
            self.pool,
            self.width,
        )

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Make the features (tokens, width) of each text."""
        return self._encoder.encode(texts)

    @cached_property
    def _encoder(self) -> TextEncoder:
        return TextEncoder(
            self.name, max_tokens=self.max_tokens, batch_size=self.batch_size, device=self.device
        )

    @cached_property
    def _checksum(self) -> str:
        return self._encoder.checksum()
