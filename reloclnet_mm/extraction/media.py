"""Media files: how long they are, what they hold, and their sound in chunks.

Times are those that a player shows: seconds since the earlier start of the pictures and the sound.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from mmengine.logging import print_log
from numpy.typing import NDArray

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.checks import check_count, check_number

if TYPE_CHECKING:
    from av import AudioFrame, Packet, VideoFrame
    from av.container import InputContainer
    from av.stream import Stream

StreamKind = Literal['video', 'audio']

# PyAV opens these too: lists of other files, pictures, texts.
_OTHER_FORMATS = re.compile(r'concat|dash|hls|image2|tty|\w+_pipe')
# The slowest speech takes hundreds, a picture that never changes about ten.
_LEAST_BYTES_PER_SECOND = 8
# Some containers round times to milliseconds, some recorders to more.
_JITTER = 0.1
# Sound and pictures seldom end together.
_SHORT_BY = 2
_CUT_WITHIN = 15.0
_QUIET_LENGTH = 0.2


@dataclass(frozen=True)
class MediaInfo:
    """What a media file holds.

    Attributes:
        path: The file.
        duration: Seconds, from the earlier start of pictures and sound to the later end.
        has_video: Whether it has moving pictures; the cover of an album is none.
        has_audio: Whether it has sound.
    """

    path: Path
    duration: float
    has_video: bool
    has_audio: bool


def probe(path: str | os.PathLike) -> MediaInfo:
    """Read how long a media file is and what it holds; its name may have any ending.

    A file that does not say how long it is, such as one recorded by a browser, is read to its end.

    Args:
        path: A file of video or sound.

    Raises:
        InputError: There is no such file; it is empty, damaged, encrypted, without length or no
            media file; or PyAV is not installed.
    """
    with open_media(path) as container:
        found = {kind: find_stream(container, kind) for kind in ('video', 'audio')}
        streams = [stream for stream in found.values() if stream is not None]
        if not streams:
            raise InputError(
                f'{path}: holds neither pictures nor sound that can be decoded; leave it out or '
                'convert it, for example to .mp4'
            )
        packets = _packets(path, container, *streams)
        first = next((packet for packet in packets if packet.size), None)
        if first is None:
            raise InputError(f'{path}: ends before its pictures and sound; copy it again')
        duration = _stated_duration(container)
        if duration is None:
            duration = _last_end(chain([first], packets)) - timeline_start(container)
        if not _is_plausible(duration, container.size):
            raise InputError(
                f'{path}: lasts {float(duration):g} s by its times, and has {container.size} '
                'bytes; expected a length above 0 that fits them. Its times are damaged: convert '
                'it again, or leave it out'
            )
    return MediaInfo(
        Path(path), float(duration), found['video'] is not None, found['audio'] is not None
    )


@contextmanager
def open_media(path: str | os.PathLike) -> Iterator['InputContainer']:
    """Open a media file by PyAV, and turn what PyAV raises into one message.

    Args:
        path: A file; what looks like an address or a list of other files is not followed.

    Raises:
        InputError: PyAV is not installed, or the file cannot be read.
    """
    try:
        import av
    except ImportError as error:
        raise InputError(
            'reading videos needs PyAV; run: pip install "reloclnet_mm[video]"'
        ) from error
    _check_file(path)
    try:
        # In a relative path, what stands before a colon could be read as a protocol.
        with av.open(
            os.path.abspath(path),
            metadata_errors='replace',
            container_options={'protocol_whitelist': 'file'},
        ) as container:
            if _OTHER_FORMATS.fullmatch(container.format.name):
                raise InputError(
                    f'{path}: is a file of the kind {container.format.name}, expected video or '
                    'sound; leave it out'
                )
            yield container
    except av.FFmpegError as error:
        raise InputError(
            f'{path}: cannot be read as video or sound ({error.strerror}); expected a file such '
            'as .mp4, .mkv, .webm or .mp3 that a player opens. Copy or convert it again'
        ) from error


def _check_file(path: str | os.PathLike) -> None:
    file = Path(path)
    if not file.exists():
        raise InputError(f'{path}: no such file; check the path')
    if not file.is_file():
        raise InputError(f'{path}: is not a regular file, expected video or sound')
    if not file.stat().st_size:
        raise InputError(f'{path}: is empty (0 bytes), expected video or sound; copy it again')


def find_stream(container: 'InputContainer', kind: StreamKind) -> 'Stream | None':
    """Return the stream that a player presents: the default one of a kind, or else the first.

    Args:
        container: An open media file.
        kind: ``video`` or ``audio``.

    Returns:
        None where there is none with a decoder, or nothing but a still cover.
    """
    from av.stream import Disposition

    streams = [
        stream
        for stream in getattr(container.streams, kind)
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic
    ]
    return max(streams, key=lambda x: bool(x.disposition & Disposition.default), default=None)


def timeline_start(container: 'InputContainer') -> Fraction:
    """Return the time in the file, in seconds, that a player shows as 0.

    Args:
        container: An open media file.
    """
    streams = [find_stream(container, kind) for kind in ('video', 'audio')]
    return min(
        (x.start_time * x.time_base for x in streams if x is not None and x.start_time is not None),
        default=Fraction(0),
    )


def _stated_duration(container: 'InputContainer') -> Fraction | None:
    """Return the seconds that the file says, or None where it says none that can be used."""
    if container.duration is None:
        return None
    # Matroska's writers disagree whether the length counts from 0 or from the first packet.
    if 'matroska' in container.format.name and timeline_start(container) > 0:
        return None
    duration = Fraction(container.duration, 1_000_000)
    return duration if _is_plausible(duration, container.size) else None


def _is_plausible(duration: Fraction, num_bytes: int) -> bool:
    return 0 < duration * _LEAST_BYTES_PER_SECOND <= num_bytes


def _last_end(packets: Iterable['Packet']) -> Fraction:
    return max(
        ((x.pts + (x.duration or 0)) * x.time_base for x in packets if x.pts is not None),
        default=Fraction(0),
    )


def _packets(
    path: str | os.PathLike, container: 'InputContainer', *streams: 'Stream'
) -> Iterator['Packet']:
    for packet in container.demux(*streams):
        if packet.has_sidedata('encryption_info'):
            raise InputError(f'{path}: is encrypted; leave it out, or give a copy that is not')
        yield packet


def decode(
    path: str | os.PathLike, container: 'InputContainer', stream: 'Stream'
) -> Iterator[tuple[Fraction, 'VideoFrame | AudioFrame']]:
    """Decode a stream to its end, or to where the file can be read no further.

    Packets that cannot be decoded are left out. One warning at the end tells how many, and where
    the stream ends if that is long before the file does.

    Args:
        path: Named in messages.
        container: The open file.
        stream: One of its streams.

    Yields:
        Frames and the exact time of each in seconds.

    Raises:
        InputError: Nothing can be decoded.
    """
    import av

    start = timeline_start(container)
    stream.codec_context.thread_type = 'AUTO'
    # What stands in their place runs backwards where pictures are stored out of order.
    has_no_pts = container.format.name == 'avi'
    num_frames = num_damaged = 0
    end = Fraction(0)
    packets = _packets(path, container, stream)
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except av.FFmpegError:
            # After an error while reading, rather than while decoding, no packet comes any more.
            num_damaged += 1
            continue
        if packet is None:
            break
        for frame in frames:
            stamp = frame.dts if frame.pts is None or has_no_pts else frame.pts
            if stamp is None:
                num_damaged += 1
                continue
            num_frames += 1
            end = (stamp + (frame.duration or 0)) * frame.time_base - start
            yield stamp * frame.time_base - start, frame
    if not num_frames:
        raise InputError(
            f'{path}: nothing of its {stream.type} stream can be decoded; copy or convert it again'
        )
    problems = []
    if num_damaged:
        problems.append(f'{num_damaged} damaged packets of its {stream.type} stream left out')
    stated = _stated_duration(container)
    if stated is not None and end < min(stated - _SHORT_BY, stated * Fraction(95, 100)):
        problems.append(
            f'its {stream.type} stream ends at {float(end):.1f} s of {float(stated):.1f} s'
        )
    if problems:
        print_log(f'{path}: {"; ".join(problems)}', 'current', logging.WARNING)


def audio_chunks(
    path: str | os.PathLike, seconds: float = 300.0, sample_rate: int = 16000
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Decode the sound of a file, in chunks that are cut where it is quiet.

    A pause in the timestamps is silence; where one is longer than a chunk, a chunk ends before it
    and the next begins after it. The memory does not grow with the length of the file.

    Args:
        path: A file of video or sound.
        seconds: Longest chunk.
        sample_rate: Samples a second.

    Yields:
        The time in seconds of the first sample, and the samples (S,), of one channel.

    Raises:
        InputError: There is no sound, or it cannot be decoded.
    """
    check_number('audio_chunks: seconds', seconds, above=0)
    check_count('audio_chunks: sample_rate', sample_rate)
    with open_media(path) as container:
        stream = find_stream(container, 'audio')
        if stream is None:
            raise InputError(f'{path}: has no sound, expected an audio track')
        samples = _resample(decode(path, container, stream), sample_rate)
        yield from join_sound(samples, seconds, sample_rate)


def _resample(
    frames: Iterable[tuple[Fraction, 'AudioFrame']], sample_rate: int
) -> Iterator[tuple[Fraction, NDArray[np.float32]]]:
    """Turn frames into the samples (S,) of one channel, each with the time of its frame."""
    from av import AudioResampler

    # Damaged streams, and those that were joined, change their format on the way.
    for _, alike in groupby(
        frames, lambda x: (x[1].format.name, x[1].layout.name, x[1].sample_rate)
    ):
        # In whole numbers, channels are mixed so that the loudest cannot be too loud.
        resampler = AudioResampler('s16', 'mono', sample_rate)
        time = Fraction(0)
        for time, frame in alike:
            yield from ((time, _samples(x)) for x in resampler.resample(frame))
        yield from ((time, _samples(x)) for x in resampler.resample(None))


def _samples(frame: 'AudioFrame') -> NDArray[np.float32]:
    return frame.to_ndarray()[0].astype(np.float32) / 32768


def join_sound(
    pieces: Iterable[tuple[Fraction, NDArray[np.float32]]], seconds: float, sample_rate: int
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Join short pieces of sound to chunks, as :func:`audio_chunks` describes.

    Args:
        pieces: Times in seconds, and samples (S,); pieces that overlap are put one after another.
        seconds: Longest chunk.
        sample_rate: Samples a second.

    Yields:
        The time in seconds of the first sample of a chunk, and its samples.
    """
    size = max(1, int(seconds * sample_rate))
    start, held, length = Fraction(0), [], 0
    for time, samples in pieces:
        pause = round((time - start) * sample_rate) - length if length else 0
        if pause > size:
            yield float(start), np.concatenate(held)
            held, length = [], 0
        elif pause > _JITTER * sample_rate:
            held.append(np.zeros(pause, np.float32))
            length += pause
        if not length:
            start = max(time, Fraction(0))
        held.append(samples)
        length += len(samples)
        while length > size:
            joined = np.concatenate(held)
            cut = quietest_cut(joined[:size], sample_rate)
            yield float(start), joined[:cut]
            start += Fraction(cut, sample_rate)
            held, length = [joined[cut:]], length - cut
    if length:
        yield float(start), np.concatenate(held)


def quietest_cut(samples: NDArray[np.float32], sample_rate: int) -> int:
    """Choose where to cut sound so that no word is cut: within the quietest 0.2 s near its end.

    Args:
        samples: (S,), at least one.
        sample_rate: Samples a second.

    Returns:
        Number of samples before the cut, at least one: the middle of the window of 0.2 s with the
        least energy in the last 15 s, or in the later half of shorter sound; of several the last.
        Sound too short for a window is cut at its end.
    """
    window = round(_QUIET_LENGTH * sample_rate)
    within = min(round(_CUT_WITHIN * sample_rate), len(samples) // 2)
    if within < window or not window:
        return len(samples)
    first = len(samples) - within
    sums = np.cumsum(np.square(samples[first:], dtype=np.float64))
    energies = sums[window - 1 :] - np.append(0.0, sums[:-window])
    quietest = energies.size - 1 - int(np.argmin(energies[::-1]))
    return first + quietest + window // 2
