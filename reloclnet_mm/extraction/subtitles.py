"""Timed sentences of videos: TVR's jsonl, SubRip (.srt) and WebVTT (.vtt)."""

import html
import logging
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from mmengine.logging import print_log
from msgspec import Meta, Struct

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.fileio import read_text
from reloclnet_mm.utils.json_files import read_jsonl

_SECOND = timedelta(seconds=1)
_LATEST = 1e9
_Seconds = Annotated[float, Meta(ge=0, le=_LATEST)]
# tags as in <i>, </c.loud>, <v Ann>, <00:01.500>, and SubRip's {\an8}
_MARKUP = re.compile(r'</?[A-Za-z][^>]*>|</?>|<[\d:.]+>|\{\\[^}]*\}')


class TimedSentence(Struct, frozen=True):
    """A sentence and the seconds between which it is said or holds."""

    text: str
    start: _Seconds
    end: _Seconds


class _Video(Struct):
    vid_name: str
    sub: list[TimedSentence]


def read_subtitles(source: str | os.PathLike) -> dict[str, list[TimedSentence]]:
    """Return the timed sentences of many videos.

    Args:
        source: A jsonl file, a line a video ``{"vid_name", "sub": [{"text", "start",
            "end"}, …]}``, or a folder of ``<video name>.srt`` and ``.vtt`` files.

    Returns:
        Sentences by video name, in the order of the file. Texts are stripped.

    Raises:
        InputError: A file cannot be used.
    """
    if Path(source).is_dir():
        return _read_folder(Path(source))
    subtitles: dict[str, list[TimedSentence]] = {}
    for where, video in read_jsonl(source, _Video):
        if video.vid_name in subtitles:
            raise InputError(f'{where}: video {video.vid_name} has a line already; merge the two')
        sentences = [
            _checked(f'{where}, sentence {number}', sentence.text, sentence.start, sentence.end)
            for number, sentence in enumerate(video.sub, start=1)
        ]
        for number, sentence in enumerate(sentences, start=1):
            if not sentence.text:
                raise InputError(
                    f'{where}, sentence {number}: has no words; give it some or remove it'
                )
        subtitles[video.vid_name] = sentences
    return subtitles


def _read_folder(folder: Path) -> dict[str, list[TimedSentence]]:
    subtitles: dict[str, list[TimedSentence]] = {}
    num_empty = 0
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in ('.srt', '.vtt'):
            continue
        if path.stem in subtitles:
            raise InputError(f'{path}: {path.stem} has a .srt and a .vtt file; remove one of them')
        cues = read_cues(path)
        subtitles[path.stem] = [cue for cue in cues if cue.text]
        num_empty += len(cues) - len(subtitles[path.stem])
    if not subtitles:
        raise InputError(f'{folder}: holds no .srt or .vtt file; expected <video name>.srt or .vtt')
    if num_empty:
        print_log(f'{folder}: {num_empty} cues without text left out', 'current', logging.WARNING)
    return subtitles


def read_cues(path: str | os.PathLike) -> list[TimedSentence]:
    """Return the cues of one .srt or .vtt file.

    Lines of a cue are joined by a space and markup is removed, after which a cue's
    text may be empty.

    Raises:
        InputError: The file cannot be read as what its name says.
    """
    try:
        import srt
        import webvtt
        from webvtt.errors import MalformedCaptionError, MalformedFileError
    except ImportError as error:
        raise InputError(
            'reading .srt and .vtt files needs srt and webvtt-py; run: pip install '
            '"reloclnet_mm[text]"'
        ) from error
    text = re.sub(r'\r\n?', '\n', read_text(path))
    try:
        if Path(path).suffix.lower() == '.srt':
            # Hand-made files separate cues by lines of blanks too.
            text = re.sub(r'[ \t]+$', '', text, flags=re.MULTILINE)
            times = [(x.content, x.start / _SECOND, x.end / _SECOND) for x in srt.parse(text)]
        else:
            times = [
                (
                    cue.raw_text,
                    *(t.in_milliseconds() / 1000 for t in (cue.start_time, cue.end_time)),
                )
                for cue in webvtt.from_string(text, strict=True)
            ]
    except (srt.SRTParseError, MalformedFileError, MalformedCaptionError, OverflowError) as error:
        raise InputError(
            f'{path}: cannot be read ({error}); mend the cue, or convert the file again'
        ) from error
    cues = []
    for number, (lines, start, end) in enumerate(times, start=1):
        if '-->' in lines:
            raise InputError(
                f'{path}, cue {number}: has times in its text; mend them, or put an empty line '
                'before them'
            )
        cues.append(_checked(f'{path}, cue {number}', _plain_text(lines), start, end))
    return cues


def _plain_text(text: str) -> str:
    return ' '.join(html.unescape(_MARKUP.sub('', text.replace('\n', ' '))).split())


def _checked(where: str, text: str, start: float, end: float) -> TimedSentence:
    if max(start, end) > _LATEST:
        raise InputError(
            f'{where}: has a time of {max(start, end):g} s, expected at most {_LATEST:g}; mend it'
        )
    if end < start:
        raise InputError(
            f'{where}: starts at {start} s and ends at {end} s; expected the end after the start. '
            'Mend or remove it'
        )
    return TimedSentence(text.strip(), start, end)
