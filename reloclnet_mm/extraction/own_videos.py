"""Files of videos, and the subtitles beside them."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.content import VideoContent
from reloclnet_mm.extraction.media import probe
from reloclnet_mm.extraction.subtitles import TimedSentence, read_cues

_VIDEO = ('.3gp', '.avi', '.flv', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ogv', '.ts')
_AUDIO = ('.flac', '.m4a', '.mp3', '.ogg', '.opus', '.wav')
_MEDIA = frozenset((*_VIDEO, '.webm', '.wmv', *_AUDIO))
_SUBTITLES = ('.srt', '.vtt')


class Recognizer(Protocol):
    """What turns speech into sentences."""

    def transcribe(self, path: str | os.PathLike) -> list[TimedSentence]:
        """Return what is said in a file."""


def find_videos(paths: Iterable[str | os.PathLike]) -> list[tuple[Path, Path]]:
    """List media files, and files of subtitles that belong to none.

    Folders are searched with all that is in them, but for hidden files; files that are named
    themselves may have any ending.

    Args:
        paths: Files and folders.

    Returns:
        Files and the folder that each was found in, sorted by path, each once.

    Raises:
        InputError: A path is not there, or there is no video in any.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if path.is_dir():
            for file in _files_below(path):
                found.setdefault(file.resolve(), path.resolve())
        elif path.exists():
            found.setdefault(path.resolve(), path.resolve().parent)
        else:
            raise InputError(f'{path}: no such file or folder; check the path')
    if not found:
        raise InputError(
            f'{", ".join(map(str, paths))}: found no video, expected files such as .mp4, .mkv, '
            '.webm, .mp3, or subtitles (.srt, .vtt)'
        )
    return sorted(found.items())


def _files_below(folder: Path) -> list[Path]:
    files = [
        Path(root, name)
        for root, _, names in os.walk(folder)
        for name in names
        if not name.startswith('.')
    ]
    media = [file for file in files if file.suffix.lower() in _MEDIA]
    named = {file.with_suffix('') for file in media}
    texts = [
        file
        for file in files
        if file.suffix.lower() in _SUBTITLES and not {*_names_of(file)} & named
    ]
    return media + texts


def _names_of(file: Path) -> tuple[Path, Path]:
    """Paths of the media, without ending, that a file of subtitles may belong to."""
    # talk.srt, or talk.en.srt with the language in its name.
    return file.with_suffix(''), file.with_suffix('').with_suffix('')


def subtitles_of(path: Path) -> Path | None:
    """Find the subtitles of a media file: ``talk.srt``, ``talk.vtt`` or ``talk.en.srt``.

    Args:
        path: A media file.

    Raises:
        InputError: There are several.
    """
    stem = path.with_suffix('')
    found = [
        file
        for file in sorted(path.parent.iterdir())
        if file.suffix.lower() in _SUBTITLES and stem in _names_of(file) and file != path
    ]
    if len(found) > 1:
        raise InputError(
            f'{path}: has the subtitles {", ".join(file.name for file in found)}, expected one '
            'file; move the others away'
        )
    return found[0] if found else None


def read_content(path: Path, speech: Recognizer | None) -> VideoContent:
    """Read what is said in a video: its subtitles, or else by a recognizer.

    Args:
        path: A media file, or a file of subtitles without one.
        speech: Recognizer for media without subtitles; None: nothing is heard.

    Raises:
        InputError: The file cannot be used.
    """
    if path.suffix.lower() in _SUBTITLES:
        sentences = _spoken(path)
        if not sentences:
            raise InputError(f'{path}: holds no sentence; leave it out')
        return VideoContent(path, max(x.end for x in sentences), False, sentences)
    media = probe(path)
    subtitles = subtitles_of(path)
    sentences: list[TimedSentence] = []
    if subtitles is not None:
        sentences = _within(_spoken(subtitles), media.duration)
    elif speech is not None and media.has_audio:
        sentences = _within(speech.transcribe(path), media.duration)
    return VideoContent(path, media.duration, media.has_video, sentences)


def _spoken(path: Path) -> list[TimedSentence]:
    return sorted((x for x in read_cues(path) if x.text), key=lambda x: (x.start, x.end))


def _within(sentences: Iterable[TimedSentence], duration: float) -> list[TimedSentence]:
    """Cut sentences to the video; those that begin after its end are left out."""
    return [
        TimedSentence(x.text, x.start, min(x.end, duration))
        for x in sentences
        if x.start < duration
    ]
