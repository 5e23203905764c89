"""Pooling, normalizing, positions and targets."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from mmcv.transforms import BaseTransform

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.rows import normalize_rows, pool_rows, temporal_endpoints
from reloclnet_mm.registry import TRANSFORMS
from reloclnet_mm.structures.clips import moment_to_span
from reloclnet_mm.utils.checks import check_choice, check_count, check_number


@TRANSFORMS.register_module()
class PoolClips(BaseTransform):
    """Pool the clips of long videos, and note how many seconds a row covers.

    Required keys: ``clips``; used where present: ``video_name``, ``duration`` and
    ``recorded_clip_lengths``. Changed: ``clips``. Added: ``seconds_per_clip``, ``num_clips``.

    Args:
        clip_length: Seconds of a clip in the feature files.
        max_clips: Rows that are left at most.
        pooled_seconds: Seconds of a row of a pooled video. ``true``: what it covers.
            ``official``: ``clip_length`` all the same, as in the authors' program, where targets
            and predictions of pooled videos are off.
    """

    def __init__(
        self,
        clip_length: float = 1.5,
        max_clips: int = 128,
        pooled_seconds: Literal['true', 'official'] = 'true',
    ) -> None:
        check_number('PoolClips: clip_length', clip_length, above=0)
        check_count('PoolClips: max_clips', max_clips)
        check_choice('PoolClips: pooled_seconds', pooled_seconds, ('true', 'official'))
        self.clip_length = clip_length
        self.max_clips = max_clips
        self.pooled_seconds = pooled_seconds

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pool every stream.

        Raises:
            InputError: The number of clips does not go with the video's duration, or the feature
                file tells another length of a clip.
        """
        length = len(next(iter(results['clips'].values())))
        results['clips'] = {
            name: pool_rows(rows, self.max_clips) for name, rows in results['clips'].items()
        }
        results.update(self.counts(length, results))
        return results

    def counts(self, length: int, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``num_clips`` and ``seconds_per_clip`` of a video after pooling.

        Args:
            length: Number of its clips in the feature files.
            results: What is known of it, for the checks of :meth:`transform`.
        """
        self._check(length, results)
        num_clips = min(length, self.max_clips)
        stretch = length / num_clips if self.pooled_seconds == 'true' else 1.0
        return dict(num_clips=num_clips, seconds_per_clip=self.clip_length * stretch)

    def _check(self, length: int, results: Mapping[str, Any]) -> None:
        for path, recorded in results.get('recorded_clip_lengths', {}).items():
            if not math.isclose(recorded, self.clip_length, rel_tol=1e-6):
                raise InputError(
                    f'{path}: was made with clip_length {recorded} s, and PoolClips has '
                    f'{self.clip_length} s; set clip_length of the transform to that of the file'
                )
        covered, duration = length * self.clip_length, results.get('duration')
        # Feature files may be a clip or two off, and decoders differ about the end of long videos.
        if duration and abs(covered - duration) > max(2 * self.clip_length, 0.05 * duration) + 1e-6:
            raise InputError(
                f'video {results.get("video_name")!r}: its {length} clips of {self.clip_length} s '
                f'cover {covered:g} s, and the annotation gives it {duration:g} s; they may differ '
                'by two clips or 5 %, whichever is more. Set clip_length of PoolClips to that of '
                'the feature files, or correct the duration'
            )


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
    """Set the training target: the clips of a right moment in the sample's video.

    Required keys: ``gt``, ``video_id``, ``seconds_per_clip``, ``num_clips``; used where present:
    ``target``, the place of the moment in ``gt``. Without it the first in the video is taken.
    Added: ``gt_span``, and ``right_spans``, those of all right moments in the video.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``gt_span`` and ``right_spans``.

        Raises:
            InputError: The query has no right moment in its own video.
        """
        gt = results.get('gt')
        own = (
            []
            if gt is None
            else np.flatnonzero(
                (gt['video_ids'] == results.get('video_id')) & (gt.get('relevance', 1) > 0)
            )
        )
        if len(own) == 0:
            raise InputError(
                f'MomentToSpan: query {results["query_id"]!r} has no moment in the annotation, '
                'and training needs one; use a split with answers, or remove the line. Where '
                'queries have moments and no video of their own, set max_positives of QueryDataset'
            )
        spans = {
            i: moment_to_span(gt['moments'][i], results['seconds_per_clip'], results['num_clips'])
            for i in own.tolist()
        }
        results['gt_span'] = spans[results.get('target', own[0])]
        results['right_spans'] = list(spans.values())
        return results
