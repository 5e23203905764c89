"""Two parts of an annotation, told apart by the names of its videos."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reloclnet_mm.datasets.readers.base import Video

PARTS = ('fit', 'held_out')
"""What is trained on, and what settings and the best epoch are chosen on."""


def is_held_out(name: str, share: float) -> bool:
    """Tell whether a recording is held out, by the SHA-256 of its name alone.

    No other recording changes that, and a larger share holds out the same ones and more.

    Args:
        name: Name of the recording.
        share: Expected share of recordings that are held out, from 0 to 1.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], 'big') < share * 2**64


def names_of_part(videos: Mapping[str, 'Video'], part: str, share: float) -> set[str]:
    """Return the names of the videos of a part; those of one recording are in the same.

    Args:
        videos: All videos by name. A recording goes by the name of the video whose number it has;
            where none has it, by the number.
        part: One of ``PARTS``.
        share: Expected share of recordings that are held out.
    """
    owners = {video.video_id: name for name, video in videos.items()}
    recordings = {
        name: owners.get(video.source_id, str(video.source_id)) for name, video in videos.items()
    }
    wanted = part == 'held_out'
    return {name for name, other in recordings.items() if is_held_out(other, share) == wanted}
