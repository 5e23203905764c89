"""Timed sentences of videos: TVR's jsonl, SubRip (.srt) and WebVTT (.vtt)."""

import html
import logging
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from reloclnet_mm.datasets.annotation import read_jsonl
from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.fileio import read_text

_SRT_TIME = r'(\d+):([0-5]\d):([0-5]\d)[,.](\d{3})'
_VTT_TIME = r'(?:(\d{2,}):)?([0-5]\d):([0-5]\d)\.(\d{3})'
# after the times come coordinates (srt) or cue settings (vtt), of no use here
_TIME_LINES = {
    suffix: re.compile(rf'\s*{time}\s*-->\s*{time}(?:\s.*)?')
    for suffix, time in (('.srt', _SRT_TIME), ('.vtt', _VTT_TIME))
}
_EXPECTED_TIMES = {
    '.srt': '00:01:02,345 --> 00:01:04,000',
    '.vtt': '01:02.345 --> 01:04.000',
}
# tags as in <i>, </c.loud>, <v Ann>, <00:01.500>, and SubRip's {\an8}
_MARKUP = re.compile(r'</?[A-Za-z][^>]*>|</?>|<[\d:.]+>|\{\\[^}]*\}')
_VTT_OTHER_BLOCK = re.compile(r'(NOTE|STYLE|REGION)(\s|$)')


@dataclass(frozen=True)
class TimedSentence:
    """A sentence and the seconds between which it is said or holds."""

    text: str
    start: float
    end: float


def read_subtitles(source: str | os.PathLike) -> dict[str, list[TimedSentence]]:
    """The timed sentences of many videos.

    Args:
        source: A jsonl file, a line a video ``{"vid_name", "sub": [{"text", "start",
            "end"}, …]}``, or a folder of ``<video name>.srt`` and ``.vtt`` files.

    Returns:
        Sentences by video name, in the order of the file. Texts are stripped.
    """
    if Path(source).is_dir():
        return _read_subtitle_folder(Path(source))
    subtitles: dict[str, list[TimedSentence]] = {}
    for line, entry in read_jsonl(source):
        place = f'{source}:{line}'
        name, sentences = entry.get('vid_name'), entry.get('sub')
        if not isinstance(name, str) or not isinstance(sentences, list):
            raise InputError(f'{place}: expected "vid_name" (text) and "sub" (list)')
        if name in subtitles:
            raise InputError(f'{place}: video {name} has a line already; merge the two')
        subtitles[name] = [
            _check_sentence(f'{place}, sentence {number}', sentence)
            for number, sentence in enumerate(sentences, start=1)
        ]
    return subtitles


def _check_sentence(place: str, sentence: Any) -> TimedSentence:
    keys = ('text', 'start', 'end')
    if not isinstance(sentence, dict) or not all(key in sentence for key in keys):
        raise InputError(f'{place}: found {sentence!r}, expected an object with {", ".join(keys)}')
    text, start, end = (sentence[key] for key in keys)
    if not isinstance(text, str) or not text.strip():
        raise InputError(f'{place}: the text is {text!r}; give it words or remove the sentence')
    _check_times(place, start, end)
    return TimedSentence(text.strip(), float(start), float(end))


def _check_times(place: str, start: Any, end: Any) -> None:
    if not all(isinstance(time, int | float) and math.isfinite(time) for time in (start, end)):
        raise InputError(f'{place}: start {start!r}, end {end!r}; expected seconds')
    if not 0 <= start <= end:
        raise InputError(f'{place}: start {start} s, end {end} s; expected 0 <= start <= end')


def _read_subtitle_folder(folder: Path) -> dict[str, list[TimedSentence]]:
    subtitles: dict[str, list[TimedSentence]] = {}
    num_empty = 0
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _TIME_LINES:
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
    """The cues of one .srt or .vtt file.

    Lines of a cue are joined by a space and markup is removed, after which a cue's
    text may be empty.
    """
    suffix = Path(path).suffix.lower()
    lines = re.split(r'\r\n|\r|\n', read_text(path))
    if suffix == '.vtt' and not re.match(r'WEBVTT(\s|$)', lines[0]):
        raise InputError(f'{path}:1: found {lines[0]!r}, expected WEBVTT')
    if suffix == '.srt':
        lines = [line.rstrip() for line in lines]  # hand-made files separate cues by blanks too
    blocks = _blocks(lines)
    if suffix == '.vtt':
        next(blocks)  # the header, with whatever belongs to it
        blocks = ((n, block) for n, block in blocks if not _VTT_OTHER_BLOCK.match(block[0]))
    return [_parse_cue(path, suffix, number, block) for number, block in blocks]


def _blocks(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Runs of non-empty lines, each with the number of its first line."""
    block: list[str] = []
    for number, line in enumerate([*lines, ''], start=1):
        if line:
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


def _parse_cue(
    path: str | os.PathLike, suffix: str, first_line: int, block: list[str]
) -> TimedSentence:
    # a number (srt) or a name (vtt) may stand above the times
    position = 0 if '-->' in block[0] or len(block) == 1 else 1
    place = f'{path}:{first_line + position}'
    match = _TIME_LINES[suffix].fullmatch(block[position])
    if not match:
        raise InputError(
            f'{place}: found {block[position]!r}, expected times as {_EXPECTED_TIMES[suffix]}'
        )
    start, end = _seconds(*match.groups()[:4]), _seconds(*match.groups()[4:])
    _check_times(place, start, end)
    payload = block[position + 1 :]
    for number, line in enumerate(payload, start=first_line + position + 1):
        if '-->' in line:
            raise InputError(f'{path}:{number}: times inside a cue; put an empty line before it')
    return TimedSentence(_plain_text(payload), start, end)


def _seconds(hours: str | None, minutes: str, seconds: str, milliseconds: str) -> float:
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    return whole + int(milliseconds) / 1000


def _plain_text(lines: list[str]) -> str:
    return ' '.join(html.unescape(_MARKUP.sub('', ' '.join(lines))).split())
