"""How features are made, of training sets and of own videos alike."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.content import VideoContent
from reloclnet_mm.extraction.own_videos import read_content
from reloclnet_mm.registry import EXTRACTORS
from reloclnet_mm.utils.checks import check_number


@dataclass(frozen=True)
class VideoFeatures:
    """The features of a video.

    Attributes:
        content: The video.
        streams: Stream name to (L, width) float32, as many clips in each.
    """

    content: VideoContent
    streams: Mapping[str, NDArray[np.float32]]


@EXTRACTORS.register_module()
class FeatureRecipe:
    """Makes features: which extractors, and how long a clip is.

    Args:
        clip_length: Seconds of a clip.
        streams: Stream name to the config of an extractor with ``extract``.
        query: Config of an extractor of queries, with ``encode``. Configs that are equal share one
            extractor.
        speech: Config of a recognizer for videos without subtitles; None: there is none.
        language: Language that the encoder of queries knows, if it is written in Latin letters and
            the encoder knows no other; None: queries are not looked at.
        device: Device of the extractors whose configs name none.
    """

    def __init__(
        self,
        *,
        clip_length: float,
        streams: Mapping[str, dict],
        query: dict,
        speech: dict | None = None,
        language: str | None = None,
        device: str = 'cpu',
    ) -> None:
        check_number('FeatureRecipe: clip_length', clip_length, above=0)
        if not streams:
            raise ValueError('FeatureRecipe: streams is empty, expected an extractor a stream')
        built: dict[str, Any] = {}

        def build(cfg: dict) -> Any:
            key = json.dumps(cfg, sort_keys=True, default=str)
            if key not in built:
                built[key] = EXTRACTORS.build(dict(device=device) | cfg)
            return built[key]

        self.clip_length = float(clip_length)
        self.language = language
        self.streams = {name: build(cfg) for name, cfg in streams.items()}
        self.query = build(query)
        self.speech = None if speech is None else build(speech)

    def read(self, path: str | os.PathLike) -> VideoContent:
        """Read what is said in a video, from subtitles beside it or by the recognizer.

        Args:
            path: A media file, or a file of subtitles without one.

        Raises:
            InputError: The file cannot be used, or has nothing that the streams are made of.
        """
        hears = any(stream.reads == 'sentences' for stream in self.streams.values())
        return read_content(Path(path), self.speech if hears else None)

    def extract(self, content: VideoContent) -> VideoFeatures:
        """Make the features of a video that has been read.

        Args:
            content: Of :meth:`read`.

        Raises:
            InputError: It has nothing that any of the streams is made of, or pictures cannot be
                decoded.
        """
        there = dict(sentences=bool(content.sentences), pictures=content.has_pictures)
        reads = {name: stream.reads for name, stream in self.streams.items()}
        if not any(there[kind] for kind in reads.values()):
            absent = ' and no '.join(sorted(set(reads.values())))
            raise InputError(
                f'{content.path}: found no {absent}, of which {" and ".join(reads)} would be made; '
                'put subtitles (.srt or .vtt) of the same name beside the video, or leave it out'
            )
        made = {
            name: self._rows(stream, content, there[reads[name]])
            for name, stream in self.streams.items()
        }
        length = next(len(x) for x in made.values() if x is not None)
        return VideoFeatures(
            content,
            {
                name: np.zeros((length, self.streams[name].width), np.float32) if x is None else x
                for name, x in made.items()
            },
        )

    def encode_queries(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Make the features (tokens, width) of queries."""
        return self.query.encode(texts)

    def identity(self) -> dict[str, Any]:
        """Return what features depend on; the weights of all extractors are read for it."""
        return dict(
            clip_length=self.clip_length,
            query=self.query.identity(),
            streams={name: stream.identity() for name, stream in self.streams.items()},
            speech=None if self.speech is None else self.speech.identity(),
        )

    def _rows(self, stream: Any, content: VideoContent, there: bool) -> NDArray[np.float32] | None:
        return stream.extract(content, self.clip_length) if there else None
