"""Pooling, normalizing, positions and targets."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from mmcv.transforms import BaseTransform

from reloclnet_mm.datasets.readers.base import END_TOLERANCE
from reloclnet_mm.errors import InputError
from reloclnet_mm.features.rows import normalize_rows, pool_rows, temporal_endpoints
from reloclnet_mm.registry import TRANSFORMS
from reloclnet_mm.structures.clips import (
    SPAN_ENDS,
    SpanEnd,
    goes_with_duration,
    in_clips,
    moment_to_span,
)
from reloclnet_mm.utils.checks import check_choice

PooledSeconds = Literal['true', 'official']


@TRANSFORMS.register_module()
class PoolClips(BaseTransform):
    """Pool the clips of long videos, and note how many seconds a row covers.

    Required keys: ``clips``, ``clip_length``, ``max_clips``; used where present: ``video_name``,
    ``duration`` and ``recorded_clip_lengths``. Changed: ``clips``. Added: ``seconds_per_clip``,
    ``num_clips``.

    Args:
        pooled_seconds: Seconds of a row of a pooled video. ``true``: what it covers.
            ``official``: ``clip_length`` all the same, as in the authors' program, where targets
            and predictions of pooled videos are off.
    """

    def __init__(self, pooled_seconds: PooledSeconds = 'true') -> None:
        check_choice('PoolClips: pooled_seconds', pooled_seconds, ('true', 'official'))
        self.pooled_seconds = pooled_seconds

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pool every stream.

        Raises:
            InputError: The number of clips does not go with the video's duration, the feature
                file tells another length of a clip, or nothing tells one.
        """
        length = len(next(iter(results['clips'].values())))
        results['clips'] = {
            name: pool_rows(rows, results['max_clips']) for name, rows in results['clips'].items()
        }
        results.update(clip_counts(length, results, self.pooled_seconds))
        return results


def clip_counts(
    length: int, results: Mapping[str, Any], pooled_seconds: PooledSeconds
) -> dict[str, Any]:
    """Return ``num_clips`` and ``seconds_per_clip`` of a video after pooling.

    Args:
        length: Number of its clips in the feature files.
        results: What is known of it; keys and errors as of :class:`PoolClips`.
        pooled_seconds: As for :class:`PoolClips`.
    """
    clip_length = _clip_length(length, results)
    num_clips = min(length, results['max_clips'])
    stretch = length / num_clips if pooled_seconds == 'true' else 1.0
    return dict(num_clips=num_clips, seconds_per_clip=clip_length * stretch)


def _clip_length(length: int, results: Mapping[str, Any]) -> float:
    """Return the seconds of a clip, by the data set or the feature files, and check them."""
    clip_length, duration = results['clip_length'], results.get('duration')
    for path, recorded in results.get('recorded_clip_lengths', {}).items():
        if clip_length is None:
            clip_length = recorded
        elif clip_length == 'even' or not math.isclose(recorded, clip_length, rel_tol=1e-6):
            raise InputError(
                f'{path}: was made with clip_length {recorded} s, and the data set or the other '
                f'stream has {clip_length!r}, expected one length; leave clip_length out '
                'of the data set, and give it files of one clip length'
            )
    if clip_length is None or (clip_length == 'even' and not duration):
        raise InputError(
            f'video {results.get("video_name")!r}: found clip_length={clip_length!r}, a duration '
            f'of {duration} s and no attribute clip_length in {results.get("feature_files")}, '
            "expected the length of a clip; set clip_length of the data set, in seconds, or 'even' "
            'where rows are spread evenly over a known duration'
        )
    if clip_length == 'even':
        return duration / length
    if duration and not goes_with_duration(length, clip_length, duration):
        raise InputError(
            f'video {results.get("video_name")!r}: its {length} clips of {clip_length} s cover '
            f'{length * clip_length:g} s, and the annotation gives it {duration:g} s; they may '
            'differ by two clips or 5 %, whichever is more. Set clip_length of the data set to '
            "that of the feature files ('even' if they have none), or correct the duration"
        )
    return clip_length


@TRANSFORMS.register_module()
class CountTimedRows(BaseTransform):
    """Note how many rows a video has whose times were loaded with them, such as sentences.

    In the place of :class:`PoolClips`, where rows are no clips of equal length.

    Required keys: ``clips``, ``feature_files``, ``video_name``, ``duration``; used where present:
    ``normalized``. Added: ``num_clips``, the rows; ``seconds_per_clip``, their mean share of the
    video; ``timed_by``, the stream that must not be normalized.

    Args:
        times: Name of the times among the loaded streams: (L, 2), start and end in seconds.
    """

    def __init__(self, times: str = 'times') -> None:
        self.times = times

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the numbers.

        Raises:
            InputError: There are no times, they are no start and end, NormalizeFeatures has divided
                them, or they lie outside the video.
        """
        if self.times in results.get('normalized', ()):
            raise _times_are_normalized(results, self.times)
        times = results['clips'].get(self.times)
        if times is None or times.shape[1] != 2 or not (times[:, 0] <= times[:, 1]).all():
            found = 'no times' if times is None else f'times {times.shape}'
            raise InputError(
                f'video {results["video_name"]!r}: found {found} among the streams '
                f'{sorted(results["clips"])}, expected {self.times!r} with start and end of each '
                'row; load the file of times that tools/extract_text_features.py sentences --rows '
                'sentences writes'
            )
        duration = results['duration']
        outside = (times[:, 0] < 0) | (times[:, 1] > duration + END_TOLERANCE)
        if outside.any():
            start, end = times[outside.argmax()]
            raise InputError(
                f'{results["feature_files"][self.times]}: video {results["video_name"]!r}: found a '
                f'row from {start:g} to {end:g} s, expected rows within its {duration:g} s; '
                'correct the duration in the annotation, or the times, and extract them again'
            )
        num_rows = len(times)
        results.update(
            num_clips=num_rows, seconds_per_clip=duration / num_rows, timed_by=self.times
        )
        return results


def _times_are_normalized(results: Mapping[str, Any], times: str) -> InputError:
    return InputError(
        f'{results["feature_files"][times]}: found NormalizeFeatures in the pipeline and '
        f'{times!r} in normalize of the data set, which would change its seconds; set normalize '
        'to the other names of feature_files, or leave NormalizeFeatures out'
    )


@TRANSFORMS.register_module()
class NormalizeFeatures(BaseTransform):
    """L2-normalize the rows of what is loaded and the data set's ``normalize`` names.

    Required keys: ``normalize``; used where present: ``timed_by`` of :class:`CountTimedRows`.
    Changed: ``query_tokens`` and ``clips``, where present. Added: ``normalized``, the names.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Normalize.

        Raises:
            InputError: A stream is the times of the rows.
        """
        chosen = results['normalized'] = results['normalize']
        if results.get('timed_by') in chosen:
            raise _times_are_normalized(results, results['timed_by'])
        if 'query' in chosen and 'query_tokens' in results:
            results['query_tokens'] = normalize_rows(results['query_tokens'])
        if 'clips' in results:
            results['clips'] = {
                name: normalize_rows(rows) if name in chosen else rows
                for name, rows in results['clips'].items()
            }
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
    Added: ``gt_span``; ``gt_moment``, its begin and end in clips; ``right_spans``, those of all
    right moments in the video; ``span_end``.

    Args:
        span_end: See :data:`~reloclnet_mm.structures.clips.SpanEnd`; that of ``model.test_cfg``.
    """

    def __init__(self, span_end: SpanEnd = 'official') -> None:
        check_choice('MomentToSpan: span_end', span_end, SPAN_ENDS)
        self.span_end = span_end

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
        clips = results['seconds_per_clip'], results['num_clips'], self.span_end
        spans = {i: moment_to_span(gt['moments'][i], *clips) for i in own.tolist()}
        target = results.get('target', own[0])
        results['gt_span'] = spans[target]
        results['gt_moment'] = in_clips(gt['moments'][target], results['seconds_per_clip'])
        results['right_spans'] = list(spans.values())
        results['span_end'] = self.span_end
        return results
