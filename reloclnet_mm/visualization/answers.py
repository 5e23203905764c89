"""Pictures of what a search of own videos answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from reloclnet_mm.extraction.frames import frame_at
from reloclnet_mm.indexing.hits import Hit, Hits, WindowProbabilities
from reloclnet_mm.utils.fileio import replace_file
from reloclnet_mm.visualization.timeline import Timeline

_FRAMES, _FRAME_WIDTH, _GAP = 5, 190, 8


def save_answer(
    path: Path, hits: Hits, duration: float, has_pictures: bool, shown: WindowProbabilities
) -> None:
    """Draw the moments of a query, the probabilities in the best window, and key frames.

    Args:
        path: PNG file to write.
        hits: The moments, at least one.
        duration: Seconds of the best one's video.
        has_pictures: Whether that has pictures.
        shown: The probabilities.

    Raises:
        InputError: matplotlib is not installed, or the file cannot be written.
    """
    from reloclnet_mm.visualization.drawing import draw_timeline

    best = [hit for hit in hits if hit.video == hits[0].video]
    picture = Image.fromarray(draw_timeline(_timeline(hits, best, duration, shown)))
    if has_pictures:
        picture = _above(picture, _key_frames(best[:_FRAMES]))
    with replace_file(path) as temporary:
        picture.save(temporary, format='PNG')


def _timeline(
    hits: Hits, best: Sequence[Hit], duration: float, shown: WindowProbabilities
) -> Timeline:
    """Place the window's probabilities in the whole video."""
    count = max(1, int(np.ceil(round(duration / shown.clip_seconds, 6))))
    first = round(shown.start / shown.clip_seconds)
    start, end = np.zeros(count), np.zeros(count)
    begins, ends = (np.array(x[: count - first]) for x in (shown.begins, shown.ends))
    start[first : first + len(begins)], end[first : first + len(ends)] = begins, ends
    return Timeline(
        query=hits.query,
        video=best[0].video,
        duration=duration,
        truth=np.zeros((0, 2)),
        moments=np.array([(hit.start, hit.end) for hit in best]),
        shares=np.array([hit.score for hit in best]),
        start_prob=start,
        end_prob=end,
        seconds_per_clip=shown.clip_seconds,
        in_corpus=[
            (f'{x.video} {x.start:.0f}–{x.end:.0f} s', x.video == best[0].video) for x in hits
        ],
    )


def _key_frames(hits: Sequence[Hit]) -> Image.Image:
    """Put the middle frame of each moment beside the others."""
    frames = []
    for hit in hits:
        frame = frame_at(hit.path, (hit.start + hit.end) / 2, _FRAME_WIDTH)
        ImageDraw.Draw(frame).text(
            (4, 2), f'{hit.start:.0f}-{hit.end:.0f} s', 'white', stroke_width=2, stroke_fill='black'
        )
        frames.append(frame)
    height = max(frame.height for frame in frames)
    strip = Image.new(
        'RGB', (len(frames) * (_FRAME_WIDTH + _GAP) + _GAP, height + 2 * _GAP), 'white'
    )
    for number, frame in enumerate(frames):
        strip.paste(frame, (_GAP + number * (_FRAME_WIDTH + _GAP), _GAP))
    return strip


def _above(one: Image.Image, other: Image.Image) -> Image.Image:
    whole = Image.new('RGB', (max(one.width, other.width), one.height + other.height), 'white')
    whole.paste(one, (0, 0))
    whole.paste(other, (0, one.height))
    return whole
