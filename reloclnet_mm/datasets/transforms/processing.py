"""Pooling, normalizing, positions and targets."""

from typing import Any, Literal

import numpy as np
from mmcv.transforms import BaseTransform

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.rows import normalize_rows, pool_rows, temporal_endpoints
from reloclnet_mm.registry import TRANSFORMS
from reloclnet_mm.structures.clips import moment_to_span


@TRANSFORMS.register_module()
class PoolClips(BaseTransform):
    """Pool the clips of long videos, and note how long a row is.

    Required keys: ``clips``. Changed: ``clips``. Added: ``seconds_per_clip``, ``num_clips``.

    Args:
        clip_length: Seconds of a clip in the feature files.
        max_clips: Rows that are left at most.
        pooled_seconds: What a row of a pooled video lasts. ``true``: what it covers.
            ``official``: ``clip_length`` all the same, as in the authors' program, where targets
            and predictions of pooled videos are off.
    """

    def __init__(
        self,
        clip_length: float = 1.5,
        max_clips: int = 128,
        pooled_seconds: Literal['true', 'official'] = 'true',
    ) -> None:
        if pooled_seconds not in ('true', 'official'):
            raise ValueError(
                f"PoolClips: pooled_seconds is {pooled_seconds!r}, expected 'true' or 'official'"
            )
        self.clip_length = clip_length
        self.max_clips = max_clips
        self.pooled_seconds = pooled_seconds

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pool every stream."""
        length = len(next(iter(results['clips'].values())))
        results['clips'] = {
            name: pool_rows(rows, self.max_clips) for name, rows in results['clips'].items()
        }
        results.update(self.counts(length))
        return results

    def counts(self, length: int) -> dict[str, Any]:
        """``num_clips`` and ``seconds_per_clip`` of a video after pooling.

        Args:
            length: Its clips in the feature files.
        """
        num_clips = min(length, self.max_clips)
        stretch = length / num_clips if self.pooled_seconds == 'true' else 1.0
        return dict(num_clips=num_clips, seconds_per_clip=self.clip_length * stretch)


@TRANSFORMS.register_module()
class NormalizeFeatures(BaseTransform):
    """L2-normalize rows.

    Changed keys: ``query_tokens`` and ``clips``, as named.

    Args:
        names: ``query`` and stream names.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = tuple(names)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Normalize.

        Raises:
            InputError: Something named was not loaded.
        """
        for name in self.names:
            holder, key = (
                (results, 'query_tokens') if name == 'query' else (results.get('clips', {}), name)
            )
            if key not in holder:
                raise InputError(
                    f'NormalizeFeatures: found the streams {sorted(results.get("clips", {}))}, '
                    f'expected {name!r} among what is loaded; load it in an earlier transform, or '
                    'remove it from names'
                )
            holder[key] = normalize_rows(holder[key])
        return results


@TRANSFORMS.register_module()
class AppendTEF(BaseTransform):
    """Append the position in the video as two columns (TEF) to every stream.

    Changed keys: ``clips``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Append the columns."""
        endpoints = temporal_endpoints(results['num_clips'])
        results['clips'] = {
            name: np.concatenate([rows, endpoints], 1) for name, rows in results['clips'].items()
        }
        return results


@TRANSFORMS.register_module()
class MomentToSpan(BaseTransform):
    """Set the training target: the clips of the first moment in the query's own video.

    Required keys: ``gt``, ``video_id``, ``seconds_per_clip``, ``num_clips``. Added: ``gt_span``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``gt_span``.

        Raises:
            InputError: The query has no right moment in its own video.
        """
        gt = results.get('gt')
        own = [] if gt is None else np.flatnonzero(gt['video_ids'] == results.get('video_id'))
        if len(own) == 0:
            raise InputError(
                f'MomentToSpan: query {results["query_id"]!r} has no moment in the annotation, '
                'and training needs one; use a split with answers, or remove the line'
            )
        results['gt_span'] = moment_to_span(
            gt['moments'][own[0]], results['seconds_per_clip'], results['num_clips']
        )
        return results
