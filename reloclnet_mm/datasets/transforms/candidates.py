"""Several videos in one sample."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from reloclnet_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ForEachVideo(BaseTransform):
    """Apply transforms to each of the videos of a sample, and put their clips one below another.

    Required keys: ``videos``, records of videos, the query's own one first, and what the
    transforms need. Added: what they add for the own video, but ``clips`` are those of all videos;
    ``candidate_ids`` and ``candidate_clips``, the id and the number of clips of each.

    Args:
        transforms: Transforms that load and change clips.
    """

    def __init__(self, transforms: Sequence[dict | Callable]) -> None:
        self.transforms = Compose(transforms)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the clips of all videos."""
        videos = [self.transforms({**results, **video}) for video in results['videos']]
        own = videos[0]
        return own | dict(
            clips={
                name: np.concatenate([x['clips'][name] for x in videos]) for name in own['clips']
            },
            candidate_ids=[video['video_id'] for video in videos],
            candidate_clips=[video['num_clips'] for video in videos],
        )
