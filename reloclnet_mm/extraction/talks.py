"""Short talks whose sentences, and their times, are known: texts, truth and videos of them."""

import math
import os
import subprocess
import tempfile
import textwrap
import wave
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from mmengine.logging import print_log
from msgspec import Struct, to_builtins
from numpy.typing import NDArray

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.utils.fileio import replace_file, write_jsonl, write_text, writing
from reloclnet_mm.utils.json_files import read_json, read_jsonl

TRUTH_FILE = 'truth.jsonl'
PAUSE = 0.4
PART_PAUSE = 1.2
WIDTH, HEIGHT = 320, 180
FRAMES_PER_SECOND = 5
# espeak-ng's own, so that its samples pass through unchanged
SAMPLES_PER_SECOND = 22050
_WORDS_PER_MINUTE = 150
_MARGIN = 18
_CHARACTERS_PER_LINE = 32


class TalkQuery(Struct, frozen=True):
    """What somebody asks a talk.

    Attributes:
        text: The question.
        part: Index of the part that answers it.
        rival: Name of a talk that speaks of the same things with another meaning; None: the words
            alone tell the talk.
    """

    text: str
    part: int
    rival: str | None


class Talk(Struct, frozen=True):
    """A talk: each of its parts is a list of sentences on one step of the subject."""

    name: str
    title: str
    parts: list[list[str]]
    queries: list[TalkQuery]


class TalkCollection(Struct, frozen=True):
    """All talks, and queries that none of them answers."""

    talks: list[Talk]
    unrelated: list[str]


class TruthLine(Struct, frozen=True):
    """A query and its moment ``ts`` in seconds, as a line of TVR's layout."""

    vid_name: str
    duration: float
    ts: tuple[float, float]
    desc: str
    desc_id: str


def read_talks() -> TalkCollection:
    """Read the talks that come with the package."""
    return read_json(Path(__file__).with_name('talks.json'), TalkCollection)


def timed_sentences(
    talk: Talk,
    words_per_second: float = 2.5,
    pause: float = PAUSE,
    part_pause: float = PART_PAUSE,
) -> list[TimedSentence]:
    """Compute when each sentence is said, if a word takes the same time as any other.

    Args:
        talk: A talk.
        words_per_second: Speed of the speaker.
        pause: Seconds between sentences of a part.
        part_pause: Seconds between parts.
    """
    seconds = [len(text.split()) / words_per_second for part in talk.parts for text in part]
    return place_sentences(talk, seconds, pause, part_pause)


def place_sentences(
    talk: Talk, seconds: Sequence[float], pause: float = PAUSE, part_pause: float = PART_PAUSE
) -> list[TimedSentence]:
    """Put the sentences of a talk one after the other, from 0 s on, to the millisecond.

    Args:
        talk: A talk of S sentences.
        seconds: (S,) How long each of them takes.
        pause: Seconds between sentences of a part.
        part_pause: Seconds between parts.
    """
    placed, start, lengths = [], 0.0, iter(seconds)
    for part in talk.parts:
        for text, length in zip(part, islice(lengths, len(part)), strict=True):
            end = start + length
            placed.append(TimedSentence(text, round(start, 3), round(end, 3)))
            start = end + pause
        start += part_pause - pause
    return placed


def part_moments(talk: Talk, sentences: Sequence[TimedSentence]) -> list[tuple[float, float]]:
    """Return start and end in seconds of each part.

    Args:
        talk: A talk.
        sentences: All of its sentences with their times, in order.
    """
    rest = iter(sentences)
    parts = [list(islice(rest, len(part))) for part in talk.parts]
    return [(part[0].start, part[-1].end) for part in parts]


def truth_of(talk: Talk, sentences: Sequence[TimedSentence]) -> list[TruthLine]:
    """Return the queries of a talk with the moments that answer them.

    Args:
        talk: A talk.
        sentences: All of its sentences with their times, in order.
    """
    moments, duration = part_moments(talk, sentences), _count_frames(sentences) / FRAMES_PER_SECOND
    return [
        TruthLine(talk.name, duration, moments[query.part], query.text, f'{talk.name}_{number}')
        for number, query in enumerate(talk.queries)
    ]


def write_talk(talk: Talk, folder: str | os.PathLike, speech: bool) -> Path:
    """Write a video of a talk, ``<name>.mp4``, and its queries into ``truth.jsonl``.

    The pictures are slides with the sentence that is being said. Files of the same name are
    replaced; the truth is written last, so that a talk with its truth is complete.

    Args:
        talk: A talk.
        folder: Where to write; made if absent.
        speech: True: the sentences are spoken, which decides on their times. False: the audio
            track is silent, and the sentences are in ``<name>.srt``.

    Returns:
        Path of the video.

    Raises:
        InputError: A program or library is not installed, or a file cannot be written.
    """
    folder = Path(folder)
    spoken = [speak(text) for part in talk.parts for text in part] if speech else []
    if speech:
        sentences = place_sentences(talk, [len(x) / SAMPLES_PER_SECOND for x in spoken])
    else:
        sentences = timed_sentences(talk)
    samples = _audio_track(sentences, spoken)
    video, subtitles = folder / f'{talk.name}.mp4', folder / f'{talk.name}.srt'
    # The times in it may be others than those of the files that follow.
    _replace_truth(folder, talk.name, [])
    with replace_file(video) as temporary:
        _encode(temporary, _slides(talk, sentences), samples)
    if speech:
        with writing(subtitles):
            subtitles.unlink(missing_ok=True)
    else:
        write_text(subtitles, _to_srt(sentences))
    _replace_truth(folder, talk.name, truth_of(talk, sentences))
    return video


def is_complete(talk: Talk, folder: str | os.PathLike, speech: bool) -> bool:
    """Tell whether a folder holds all that :func:`write_talk` writes.

    Args:
        talk: A talk.
        folder: Where it may have been written.
        speech: As for :func:`write_talk`.

    Raises:
        InputError: The truth in the folder cannot be read.
    """
    folder = Path(folder)
    queries = [line.desc for line in read_truth(folder) if line.vid_name == talk.name]
    return (
        queries == [query.text for query in talk.queries]
        and (folder / f'{talk.name}.mp4').is_file()
        and (folder / f'{talk.name}.srt').is_file() != speech
    )


def read_truth(folder: str | os.PathLike) -> list[TruthLine]:
    """Read the queries of all talks in a folder.

    Raises:
        InputError: A line cannot be used.
    """
    path = Path(folder, TRUTH_FILE)
    return [line for _, line in read_jsonl(path, TruthLine)] if path.exists() else []


def _replace_truth(folder: Path, name: str, lines: Sequence[TruthLine]) -> None:
    others = [line for line in read_truth(folder) if line.vid_name != name]
    write_jsonl(folder / TRUTH_FILE, map(to_builtins, [*others, *lines]))


def _to_srt(sentences: Sequence[TimedSentence]) -> str:
    srt = _library('srt', 'text')
    return srt.compose(
        srt.Subtitle(number, timedelta(seconds=x.start), timedelta(seconds=x.end), x.text)
        for number, x in enumerate(sentences, start=1)
    )


def speak(text: str) -> NDArray[np.int16]:
    """Synthesize a sentence.

    Args:
        text: In English.

    Returns:
        (N,) int16 samples, ``SAMPLES_PER_SECOND`` a second.

    Raises:
        InputError: espeak-ng is not installed, or fails.
    """
    command = ['espeak-ng', '-v', 'en-us', '-s', str(_WORDS_PER_MINUTE), '-z', '--stdin', '-w']
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'sentence.wav')
        try:
            subprocess.run([*command, path], input=text.encode(), capture_output=True, check=True)
        except FileNotFoundError as error:
            raise InputError(
                'espeak-ng is not installed, and speaks the talks; on Debian and Ubuntu run: '
                'apt-get install espeak-ng, or write the talks without speech'
            ) from error
        except subprocess.CalledProcessError as error:
            raise InputError(
                f'espeak-ng: {error.stderr.decode().strip()} (status {error.returncode}); install '
                'the Debian packages espeak-ng and espeak-ng-data, or write the talks without '
                'speech'
            ) from error
        with wave.open(str(path)) as file:
            return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def _count_frames(sentences: Sequence[TimedSentence]) -> int:
    """Whole frames, up to a pause after the last sentence."""
    seconds = sentences[-1].end + PART_PAUSE
    # 96.4 * 5 must not become a frame more than 482
    return math.ceil(round(seconds * FRAMES_PER_SECOND, 6))


def _audio_track(
    sentences: Sequence[TimedSentence], spoken: Iterable[NDArray[np.int16]]
) -> NDArray[np.int16]:
    """Samples of the whole talk, silent where nothing is spoken."""
    samples_per_frame = SAMPLES_PER_SECOND // FRAMES_PER_SECOND
    samples = np.zeros(_count_frames(sentences) * samples_per_frame, np.int16)
    # without speech there are no voices to place
    for sentence, voice in zip(sentences, spoken, strict=False):
        begin = round(sentence.start * SAMPLES_PER_SECOND)
        samples[begin : begin + len(voice)] = voice
    return samples


def _slides(talk: Talk, sentences: Sequence[TimedSentence]) -> Iterator[tuple[Any, int]]:
    """Yield the picture of each sentence, and for how many frames it is shown."""
    begins = [round(sentence.start * FRAMES_PER_SECOND) for sentence in sentences]
    ends = [*begins[1:], _count_frames(sentences)]
    places = [(part, i) for part, texts in enumerate(talk.parts) for i in range(len(texts))]
    for (part, index), begin, end in zip(places, begins, ends, strict=True):
        yield draw_slide(talk, part, index), end - begin


def draw_slide(talk: Talk, part: int, index: int) -> Any:
    """Draw a coloured card with the title, a sentence and how far the talk is.

    Args:
        talk: A talk.
        part: Index of a part.
        index: Of the sentence within the part.

    Returns:
        A pillow image of ``WIDTH`` x ``HEIGHT`` pixels, RGB.

    Raises:
        InputError: pillow is not installed.
    """
    image_module, image_draw = _library('PIL.Image', 'video'), _library('PIL.ImageDraw', 'video')
    load_font = _library('PIL.ImageFont', 'video').load_default
    hue = (crc32(talk.name.encode()) + 67 * part) % 360
    dark, middle, light = (f'hsl({hue}, {x})' for x in ('50%, 22%', '38%, 40%', '70%, 88%'))
    picture = image_module.new('RGB', (WIDTH, HEIGHT), dark)
    draw = image_draw.Draw(picture)
    step = f'{part + 1} / {len(talk.parts)}'
    draw.text((_MARGIN, 14), talk.title, light, load_font(12))
    draw.text((WIDTH - _MARGIN, 14), step, light, load_font(12), anchor='ra')
    draw.line((_MARGIN, 34, WIDTH - _MARGIN, 34), middle)
    text = textwrap.fill(talk.parts[part][index], _CHARACTERS_PER_LINE)
    draw.multiline_text((_MARGIN, 98), text, 'white', load_font(18), anchor='lm', spacing=6)
    _draw_progress(draw, talk, part, index, middle, light)
    return picture


def _draw_progress(
    draw: Any, talk: Talk, part: int, index: int, empty_color: str, full_color: str
) -> None:
    """Draw a piece of a bar for each part, filled as far as the talk is."""
    gap, top, bottom = 4, HEIGHT - 16, HEIGHT - 12
    pitch = (WIDTH - 2 * _MARGIN + gap) / len(talk.parts)
    for number, texts in enumerate(talk.parts):
        left, width = round(_MARGIN + number * pitch), round(pitch - gap)
        draw.rectangle((left, top, left + width - 1, bottom), empty_color)
        done = 1.0 if number < part else (index + 1) / len(texts) if number == part else 0.0
        if done:
            draw.rectangle((left, top, left + round(done * width) - 1, bottom), full_color)


def _encode(path: Path, slides: Iterable[tuple[Any, int]], samples: NDArray[np.int16]) -> None:
    """Write an mp4 file that browsers play while they load it."""
    av = _library('av', 'video')
    with av.open(str(path), 'w', format='mp4', options={'movflags': 'faststart'}) as container:
        video = container.add_stream(_video_codec(av), rate=FRAMES_PER_SECOND)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
        # a player that jumps decodes 5 s at most
        video.gop_size = 5 * FRAMES_PER_SECOND
        audio = container.add_stream('aac', rate=SAMPLES_PER_SECOND, layout='mono')
        audio.bit_rate = 32_000
        first = 0
        # Sound follows the pictures slide by slide, so that the two are near in the file.
        for picture, num_frames in slides:
            frame = av.VideoFrame.from_image(picture).reformat(format='yuv420p')
            for number in range(first, first + num_frames):
                frame.pts = number
                container.mux(video.encode(frame))
            container.mux(audio.encode(_audio_frame(av, samples, first, num_frames)))
            first += num_frames
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _audio_frame(av: Any, samples: NDArray[np.int16], first: int, num_frames: int) -> Any:
    """Make one piece of sound for some frames of the pictures."""
    samples_per_frame = SAMPLES_PER_SECOND // FRAMES_PER_SECOND
    begin, end = first * samples_per_frame, (first + num_frames) * samples_per_frame
    sound = av.AudioFrame.from_ndarray(samples[None, begin:end], format='s16', layout='mono')
    sound.sample_rate, sound.pts = SAMPLES_PER_SECOND, begin
    return sound


def _video_codec(av: Any) -> str:
    if 'libx264' in av.codecs_available:
        return 'libx264'
    print_log('PyAV has no libx264: writing MPEG-4 video, which browsers may not play', 'current')
    return 'mpeg4'


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = {'PIL': 'pillow'}.get(name.split('.')[0], name)
        raise InputError(
            f'writing talks needs {package}; run: pip install "reloclnet_mm[{extra}]"'
        ) from error
