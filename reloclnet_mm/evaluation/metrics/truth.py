"""What metrics share: the truth of a query, and checks of their arguments."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.functional import moment_hits, overlaps


class Truth(NamedTuple):
    """The right moments of a query.

    Attributes:
        video_ids: (M,) int64.
        moments: (M, 2) float64, seconds.
        annotators: (M,) int64; None: each moment is of another annotator.
        relevance: (M,) float64; None: unknown.
    """

    video_ids: NDArray
    moments: NDArray
    annotators: NDArray | None = None
    relevance: NDArray | None = None

    def chosen(self, mask: NDArray) -> 'Truth':
        """Return the moments where a mask (M,) is true."""
        return Truth(*(x if x is None else x[mask] for x in self))

    def overlaps(self, video_ids: ArrayLike, moments: ArrayLike) -> NDArray:
        """Compute the IoU of each of K moments with each right one, (K, M)."""
        return overlaps(video_ids, moments, self.video_ids, self.moments)

    def hits(
        self, video_ids: ArrayLike, moments: ArrayLike, ious: ArrayLike, min_annotators: int
    ) -> NDArray:
        """Tell for each of T thresholds which of K moments are right, (T, K) bool."""
        overlap = self.overlaps(video_ids, moments)
        return moment_hits(overlap, ious, min_annotators, self.annotators)


def ground_truth(
    sample: dict[str, Any],
    needed_by: str,
    *,
    in_own_video: bool = False,
    irrelevant: bool = False,
) -> Truth:
    """Return the right moments of a query.

    Args:
        sample: A data sample as a dict, with ``gt``.
        needed_by: Name of the metric for the message.
        in_own_video: Whether to take only those in the query's own video.
        irrelevant: Whether to take moments of relevance 0 too, which are not right.

    Raises:
        InputError: The query has no answer.
    """
    if 'gt' not in sample or (in_own_video and 'video_id' not in sample):
        raise InputError(
            f'{needed_by}: query {sample["query_id"]!r} has no answer to compare with; evaluate a '
            "split with answers, or leave only dict(type='TVRSubmission') in the evaluator"
        )
    gt = sample['gt']
    truth = Truth(*(np.asarray(gt[key]) if key in gt else None for key in Truth._fields))
    if in_own_video:
        truth = truth.chosen(truth.video_ids == sample['video_id'])
    if truth.relevance is not None and not irrelevant:
        truth = truth.chosen(truth.relevance > 0)
    return truth


def check_list(
    name: str, values: Any, check: Callable[..., None], **limits: float
) -> tuple[Any, ...]:
    """Return a list as a tuple after a check of each value.

    Args:
        name: Name of the argument for the message, such as ``VideoRecall: top_k``.
        values: At least one value.
        check: One of :mod:`reloclnet_mm.utils.checks`.
        **limits: Passed to ``check``.

    Raises:
        ValueError: It is not a list, has no value, or one is refused.
    """
    if isinstance(values, str) or not isinstance(values, Collection) or not len(values):
        raise ValueError(f'{name} is {values!r}, expected a list of at least one number')
    for value in values:
        check(name, value, **limits)
    return tuple(values)
