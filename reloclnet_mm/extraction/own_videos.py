"""Files of videos, and the subtitles beside them."""

import logging
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Protocol

from mmengine.logging import print_log

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.content import VideoContent
from reloclnet_mm.extraction.media import probe
from reloclnet_mm.extraction.subtitles import TimedSentence, read_cues

_VIDEO = ('.3gp', '.avi', '.flv', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ogv', '.ts')
_AUDIO = ('.flac', '.m4a', '.mp3', '.ogg', '.opus', '.wav')
_MEDIA = frozenset((*_VIDEO, '.webm', '.wmv', *_AUDIO))
_SUBTITLES = ('.srt', '.vtt')
_LANGUAGE = re.compile(r'\.[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*')
# Longer subtitles without a video have a wrong time in them.
_LONGEST = 48 * 3600.0


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
    found: dict[str, tuple[Path, Path]] = {}
    for given in map(Path, paths):
        # Links stay what they are: subtitles lie beside the link, and it has the name.
        path = Path(os.path.abspath(given))
        files = _files_below(path) if path.is_dir() else [path]
        if not os.path.lexists(path):
            raise InputError(f'{given}: no such file or folder; check the path')
        for file in files:
            root = path if path.is_dir() else path.parent
            found.setdefault(os.path.realpath(file), (file, root))
    listed = [file for file, _ in found.values()]
    media = {file.with_suffix('') for file in listed if file.suffix.lower() not in _SUBTITLES}
    kept = [x for x in found.values() if not _belongs(x[0], media)]
    if not kept:
        raise InputError(
            f'{", ".join(map(str, paths))}: found no video, expected files such as .mp4, .mkv, '
            '.webm, .mp3, or subtitles (.srt, .vtt)'
        )
    return sorted(kept)


def _files_below(folder: Path) -> list[Path]:
    """List media and subtitles in a folder and those in it, but for hidden ones."""
    found = []
    for root, folders, names in os.walk(folder, onerror=_tell_unreadable):
        folders[:] = [name for name in folders if not name.startswith('.')]
        found += [Path(root, name) for name in names if not name.startswith('.')]
    return [x for x in found if x.suffix.lower() in (*_MEDIA, *_SUBTITLES) and x.is_file()]


def _tell_unreadable(error: OSError) -> None:
    print_log(f'{error.filename}: left out ({error.strerror})', 'current', logging.WARNING)


def _belongs(file: Path, media: Collection[Path]) -> bool:
    """Tell whether a file is the subtitles of one of the media, named without their endings."""
    return file.suffix.lower() in _SUBTITLES and bool({*_owners(file)} & {*media})


def _owners(subtitles: Path) -> list[Path]:
    """List the media, without ending, that subtitles may belong to, the nearest name first."""
    whole = subtitles.with_suffix('')
    # talk.srt, or talk.en.srt and talk.pt-BR.srt with the language in the name.
    tagged = _LANGUAGE.fullmatch(whole.suffix)
    return [whole, whole.with_suffix('')] if tagged else [whole]


def subtitles_of(path: Path) -> Path | None:
    """Find the subtitles of a media file: ``talk.srt``, ``talk.vtt``, else ``talk.en.srt``.

    Args:
        path: A media file.

    Raises:
        InputError: There are several, or the folder cannot be read.
    """
    if path.suffix.lower() in _SUBTITLES:
        return None
    try:
        beside = sorted(path.parent.iterdir())
    except OSError as error:
        raise InputError(f'{path.parent}: cannot be read ({error.strerror}); check it') from error
    others = {x.with_suffix('') for x in beside if x.suffix.lower() in _MEDIA}
    stem, found = path.with_suffix(''), []
    for file in beside:
        if file.suffix.lower() in _SUBTITLES:
            # talk.en.srt is that of talk.en.mp4 where there is one.
            owner = next((x for x in _owners(file) if x in others or x == stem), None)
            found += [file] if owner == stem else []
    exact = [file for file in found if file.with_suffix('') == stem]
    found = exact or found
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
        duration = max(x.end for x in sentences)
        if not 0 < duration <= _LONGEST:
            raise InputError(
                f'{path}: its last sentence ends at {duration:g} s, expected more than 0 and at '
                f'most {_LONGEST:g} s; mend the times'
            )
        return VideoContent(path, duration, False, sentences)
    media = probe(path)
    subtitles = subtitles_of(path)
    sentences: list[TimedSentence] = []
    if subtitles is not None:
        spoken = _spoken(subtitles)
        sentences = _within(spoken, media.duration)
        if len(sentences) < max(1, len(spoken)):
            print_log(
                f'{subtitles}: {len(sentences)} of its {len(spoken)} sentences begin within the '
                f'{media.duration:.1f} s of {path.name}',
                'current',
                logging.WARNING,
            )
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
