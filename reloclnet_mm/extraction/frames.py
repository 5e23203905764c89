"""Pictures of videos: at which times they are taken, and their features clip by clip."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from functools import cached_property
from itertools import islice
from math import ceil, floor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.content import VideoContent
from reloclnet_mm.extraction.images import DType, ImageEncoder
from reloclnet_mm.extraction.media import decode, find_stream, open_media, probe, timeline_start
from reloclnet_mm.registry import EXTRACTORS
from reloclnet_mm.structures.clips import count_clips
from reloclnet_mm.utils.background import made_ahead
from reloclnet_mm.utils.checks import check_count, check_number

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from PIL.Image import Image
    from torch import Tensor

Frame = TypeVar('Frame')
Picture = NDArray[np.uint8]

# Seconds before the wanted time from which a keyframe is looked for; None: from the start. A
# keyframe is found by the time at which it is decoded, which may be before that of its picture.
_SEEKS = (0, 10, None)


def exact(seconds: float) -> Fraction:
    """Return a number as it is written in decimals: 2.1 is 21/10.

    Args:
        seconds: Time, or frames a second.
    """
    return Fraction(str(seconds))


def frame_times(start: Fraction, end: Fraction, fps: Fraction) -> Iterator[Fraction]:
    """Yield the times k / fps, k a whole number, of an interval without its end.

    Args:
        start: Seconds.
        end: Seconds.
        fps: Times a second.
    """
    for number in range(ceil(start * fps), ceil(end * fps)):
        yield number / fps


def clip_times(duration: float, clip_length: float, fps: float) -> Iterator[Fraction]:
    """Yield the times at which pictures of a video are taken, in order.

    Args:
        duration: Seconds of the video.
        clip_length: Seconds of a clip; clip i begins at i * clip_length.
        fps: Pictures a second.

    Yields:
        The times k / fps of each clip, k a whole number; of a clip that has none, its middle.
    """
    length, last = exact(clip_length), count_clips(duration, clip_length) - 1
    for clip in range(last + 1):
        start = clip * length
        end = exact(duration) if clip == last else start + length
        times = frame_times(start, end, exact(fps))
        yield next(times, (start + end) / 2)
        yield from times


def clip_of(time: Fraction, clip_length: float, num_clips: int) -> int:
    """Return the number of the clip that a time lies in.

    Args:
        time: Seconds.
        clip_length: Seconds of a clip.
        num_clips: Clips of the video; a time after the last is in the last.
    """
    return min(floor(time / exact(clip_length)), num_clips - 1)


def pair_with_times(
    frames: Iterable[tuple[Fraction, Frame]], times: Iterable[Fraction]
) -> Iterator[tuple[Fraction, Frame, list[Fraction]]]:
    """Pair frames with the times at which they are shown.

    A frame is shown from its time to that of the next; the first also before, the last also after.

    Args:
        frames: Times, rising, and frames.
        times: Rising.

    Yields:
        The time of a frame, the frame and those of ``times`` at which it is shown; frames that are
        shown at none are left out.
    """
    times = iter(times)
    time = next(times, None)
    shown: tuple[Fraction, Frame] | None = None
    for frame in frames:
        due = []
        while shown is not None and time is not None and time < frame[0]:
            due.append(time)
            time = next(times, None)
        if due:
            yield *shown, due
        shown = frame
    if shown is not None and time is not None:
        yield *shown, [time, *times]


def sampled_frames(
    path: str | os.PathLike, fps: float, max_side: int
) -> Iterator[tuple[float, Picture]]:
    """Decode the pictures that are shown at the times k / fps, in bounded memory.

    Packets that cannot be decoded are left out; a warning at the end tells how many.

    Args:
        path: A video.
        fps: Pictures a second.
        max_side: Pixels of the longer side; larger pictures are made smaller.

    Yields:
        Times in seconds and upright pictures (H, W, 3) uint8, red first.

    Raises:
        InputError: The file cannot be read or has no pictures that can be decoded.
    """
    check_number('sampled_frames: fps', fps, above=0)
    check_count('sampled_frames: max_side', max_side)
    times = frame_times(Fraction(0), exact(probe(path).duration), exact(fps))
    for picture, shown_at in shown_frames(path, times, max_side):
        for time in shown_at:
            yield float(time), picture


def shown_frames(
    path: str | os.PathLike, times: Iterable[Fraction], max_side: int
) -> Iterator[tuple[Picture, list[Fraction]]]:
    """Decode the pictures that are shown at some times, as :func:`sampled_frames` does.

    Args:
        path: A video.
        times: Seconds, rising.
        max_side: Pixels of the longer side.

    Yields:
        Each picture once, and the times at which it is shown.

    Raises:
        InputError: The file cannot be read or has no pictures that can be decoded.
    """
    with open_media(path) as container:
        stream = _picture_stream(path, container)
        for _, frame, shown_at in pair_with_times(decode(path, container, stream), times):
            yield _upright(frame, stream, max_side=max_side), shown_at


def frame_at(path: str | os.PathLike, seconds: float, max_width: int) -> 'Image':
    """Decode the picture that is shown at a time, from the last keyframe before it.

    Args:
        path: A video.
        seconds: Time; at one after the end the last picture is shown.
        max_width: Pixels; a wider picture is made smaller.

    Returns:
        The picture, upright.

    Raises:
        InputError: The file cannot be read or has no pictures that can be decoded.
    """
    check_number('frame_at: seconds', seconds, low=0)
    check_count('frame_at: max_width', max_width)
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError(
            'pictures of videos need pillow; run: pip install "reloclnet_mm[video]"'
        ) from error
    for earlier in _SEEKS:
        picture = _picture_at(path, exact(seconds), earlier, max_width)
        if picture is not None:
            break
    return Image.fromarray(picture)


def _picture_at(
    path: str | os.PathLike, time: Fraction, earlier: int | None, max_width: int
) -> Picture | None:
    """Decode from some seconds before a time, or from the start; None where that is too late."""
    with open_media(path) as container:
        stream = _picture_stream(path, container)
        if earlier is not None and not _seek(container, stream, time - earlier):
            return None
        with closing(decode(path, container, stream)) as frames:
            try:
                shown_at, frame, _ = next(pair_with_times(frames, [time]))
            except InputError:
                if earlier is None:
                    raise
                return None
        if earlier is not None and shown_at > time:
            return None
        return _upright(frame, stream, max_width=max_width)


def _seek(container: 'InputContainer', stream: 'VideoStream', time: Fraction) -> bool:
    """Go to the keyframe before a time; tell whether the file allows it."""
    import av

    try:
        container.seek(floor((time + timeline_start(container)) / stream.time_base), stream=stream)
    except av.FFmpegError:
        return False
    return True


def _picture_stream(path: str | os.PathLike, container: 'InputContainer') -> 'VideoStream':
    stream = find_stream(container, 'video')
    if stream is None:
        raise InputError(f'{path}: has no pictures, expected a video')
    return stream


def _upright(
    frame: 'VideoFrame',
    stream: 'VideoStream',
    *,
    max_side: float = float('inf'),
    max_width: float = float('inf'),
) -> Picture:
    """Turn a frame as its file says, with square pixels, no larger than the limits."""
    turns = round(frame.rotation / 90) % 4
    width, height = float(frame.width * (stream.sample_aspect_ratio or 1)), frame.height
    limit = max_side / max(width, height), max_width / (height if turns % 2 else width)
    size = [max(1, round(x * min(1, *limit))) for x in (width, height)]
    # Smaller while it is converted, so that no large picture is ever held in colour.
    picture = frame.reformat(*size, format='rgb24', interpolation='AREA').to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, turns))


@EXTRACTORS.register_module()
class FrameFeatures:
    """Makes features of the pictures of videos: a row a clip, the mean over its pictures.

    The encoder is loaded at first use. A thread decodes while the model computes, and the memory
    does not grow with the length of the video, but for the features.

    Args:
        encoder: See :class:`~reloclnet_mm.extraction.images.ImageEncoder`, as ``batch_size``,
            ``device`` and ``dtype``.
        fps: Pictures a second; a clip has at least one.
        batch_size: Pictures that pass through the model together.
        device: As PyTorch names it.
        dtype: Of the products.
    """

    reads = 'pictures'

    def __init__(
        self,
        *,
        encoder: str | os.PathLike,
        fps: float = 2.0,
        batch_size: int = 32,
        device: str = 'cpu',
        dtype: DType = 'float32',
    ) -> None:
        check_number('FrameFeatures: fps', fps, above=0)
        check_count('FrameFeatures: batch_size', batch_size)
        self.name = str(encoder)
        self.fps = fps
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype

    @property
    def width(self) -> int:
        """Width of a row."""
        return self._encoder.width

    @property
    def max_side(self) -> int:
        """Pixels of the longer side of decoded pictures: enough for what the encoder resizes."""
        return 2 * self._encoder.image_size

    def identity(self) -> dict[str, Any]:
        """Return what the features depend on, but for rounding."""
        return dict(
            type=type(self).__name__,
            encoder=self.name,
            weights=self._checksum,
            fps=self.fps,
            max_side=self.max_side,
        )

    def extract(self, video: VideoContent, clip_length: float) -> NDArray[np.float32]:
        """Make the features (L, width) of a video.

        Args:
            video: The video; its path and duration are used.
            clip_length: Seconds.

        Raises:
            InputError: The file cannot be read, has no pictures that can be decoded, or the encoder
                cannot be used.
        """
        num_clips = count_clips(video.duration, clip_length)
        sums, counts = np.zeros((num_clips, self.width)), np.zeros(num_clips)
        times = clip_times(video.duration, clip_length, self.fps)
        with (
            closing(shown_frames(video.path, times, self.max_side)) as shown,
            closing(made_ahead(self._batches(shown))) as batches,
        ):
            for inputs, shown_at in batches:
                features = self._encoder.features(inputs)
                clips = [clip_of(x, clip_length, num_clips) for due in shown_at for x in due]
                np.add.at(sums, clips, np.repeat(features, [*map(len, shown_at)], axis=0))
                np.add.at(counts, clips, 1)
        return (sums / counts[:, None]).astype(np.float32)

    def _batches(
        self, shown: Iterable[tuple[Picture, list[Fraction]]]
    ) -> Iterator[tuple[dict[str, 'Tensor'], Sequence[list[Fraction]]]]:
        """Prepare pictures for the model, with the times at which each is shown."""
        shown = iter(shown)
        while batch := list(islice(shown, self.batch_size)):
            pictures, shown_at = zip(*batch, strict=True)
            yield self._encoder.prepare(pictures), shown_at

    @cached_property
    def _encoder(self) -> ImageEncoder:
        return ImageEncoder(
            self.name, device=self.device, batch_size=self.batch_size, dtype=self.dtype
        )

    @cached_property
    def _checksum(self) -> str:
        return self._encoder.checksum()
