"""Small files of video and sound, written by PyAV, so that no test needs downloaded ones."""

from fractions import Fraction

import numpy as np
import pytest

MILLISECOND = Fraction(1, 1000)


def grey(level, width=64, height=48):
    """A picture of one level of grey, which codecs keep to within a level or two."""
    return np.full((height, width, 3), level, np.uint8)


def tone(seconds, rate=16000, frequency=440.0, loudness=0.3):
    """A sine of one channel, (samples,) float32."""
    times = np.arange(round(seconds * rate)) / rate
    return (loudness * np.sin(2 * np.pi * frequency * times)).astype(np.float32)


def write_video(
    path,
    pictures=(),
    times=None,
    *,
    fps=10,
    codec=None,
    sound=None,
    sound_rate=16000,
    sound_start=0.0,
    rotation=0,
    container_format=None,
    container_options=None,
    codec_options=None,
):
    """Write pictures and sound to a file whose name tells its kind.

    Args:
        path: File such as talk.mp4, or a binary file to write to.
        pictures: Arrays (H, W, 3) uint8, all of one size.
        times: Seconds at which they are shown, as fractions; by default one each 1 / fps.
        fps: Frames a second, as a fraction.
        codec: Of the pictures; by default what suits the ending.
        sound: (S,) float32.
        sound_rate: Samples a second.
        sound_start: Seconds.
        rotation: Degrees by which a player turns the pictures counterclockwise.
        container_format: Such as ``webm``, where the name does not tell.
        container_options: Of FFmpeg's muxer.
        codec_options: Of FFmpeg's video encoder.
    """
    av = pytest.importorskip('av', reason='needs reloclnet_mm[video]')
    pictures = list(pictures)
    if times is None:
        times = [Fraction(number) / Fraction(fps) for number in range(len(pictures))]
    is_webm = 'webm' in (container_format or str(path))
    target = path if hasattr(path, 'write') else str(path)
    with av.open(
        target, 'w', format=container_format, options=container_options or {}
    ) as container:
        video = audio = None
        if pictures:
            video = container.add_stream(
                codec or ('libvpx' if is_webm else 'libx264'),
                rate=Fraction(fps),
                options=codec_options or {},
            )
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = 'yuv420p'
            # so much that no codec takes like pictures for the same
            video.bit_rate = 5_000_000
            # fine enough for 240 and for 30000/1001 frames a second
            video.codec_context.time_base = Fraction(1, 240_000)
            if rotation:
                video.set_display_rotation(rotation)
        if sound is not None:
            audio = container.add_stream('libopus' if is_webm else 'aac', rate=sound_rate)
            audio.layout = 'mono'
        # Before any packet is written, all streams must be known.
        if audio is not None:
            _write_sound(av, container, audio, sound, sound_rate, sound_start)
        if video is not None:
            _write_pictures(av, container, video, pictures, times)
    return path


def _write_pictures(av, container, stream, pictures, times):
    for picture, time in zip(pictures, times, strict=True):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
        frame.time_base = Fraction(1, 240_000)
        frame.pts = round(Fraction(time) * 240_000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _write_sound(av, container, stream, sound, rate, start):
    for begin in range(0, len(sound), 1024):
        samples = sound[begin : begin + 1024]
        frame = av.AudioFrame.from_ndarray(samples[None], format='fltp', layout='mono')
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = begin + round(start * rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


class Pipe:
    """A file to write to that cannot be rewound, as a browser's recorder has none."""

    def __init__(self):
        self.content = b''

    def write(self, data):
        self.content += bytes(data)
        return len(data)
