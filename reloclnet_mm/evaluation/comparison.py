"""Comparing models on the same queries: intervals, significance, recall in smaller corpora.

Queries of one video are answered from the same encoded clips and are alike, so they are not
independent draws. All that is drawn at random here is drawn by video: a cluster is the queries of
one video.

Letters of shapes: M measures, Q queries, C clusters.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.stats import hypergeom

NEVER = np.iinfo(np.int64).max
"""Rank of a hit where the list has none."""

_DRAWS_AT_ONCE = 256


def first_hits(hits: NDArray) -> NDArray[np.int64]:
    """Find the rank of the first right answer, from 1; :data:`NEVER` where none is right.

    Args:
        hits: (…, K) bool, in ranked order.

    Returns:
        (…) int64.
    """
    hits = np.asarray(hits, bool)
    if not hits.shape[-1]:
        return np.full(hits.shape[:-1], NEVER)
    return np.where(hits.any(-1), hits.argmax(-1) + 1, NEVER)


def cluster_sums(values: NDArray, clusters: ArrayLike) -> NDArray[np.float64]:
    """Sum the values of the queries of each cluster.

    Args:
        values: (M, Q).
        clusters: (Q,) number of each query's cluster, any whole numbers.

    Returns:
        (M, C) float64, in the order of the clusters' numbers.
    """
    _, place = np.unique(np.asarray(clusters), return_inverse=True)
    shape = len(place), place.max(initial=-1) + 1
    membership = sparse.csr_array((np.ones(len(place)), (np.arange(len(place)), place)), shape)
    return np.asarray(values, np.float64) @ membership


def bootstrap_intervals(
    values: NDArray,
    clusters: ArrayLike,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Compute percentile bootstrap intervals of means, with clusters drawn with replacement.

    Measures share their draws, so that intervals of models differ by the models alone (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; clusters as in Field and Welsh,
    JRSS B 2007).

    Args:
        values: (M, Q), one value a query.
        clusters: (Q,) number of each query's cluster.
        resamples: Number of draws.
        confidence: Share of the draws inside.
        seed: Of the draws.

    Returns:
        (M, 2) low and high end, in the unit of the values; NaN of fewer than two clusters, whose
        draws are all the same.
    """
    sums = cluster_sums(values, clusters)
    sizes = cluster_sums(np.ones((1, np.shape(values)[1])), clusters)
    count, rng = sums.shape[1], np.random.default_rng(seed)
    if count < 2:
        return np.full((len(sums), 2), np.nan)
    means = []
    for draws in _parts(resamples):
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
        means.append(drawn @ sums.T / (drawn @ sizes.T))
    tail = (1 - confidence) / 2
    return np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0).T


def clustered_errors(values: NDArray, clusters: ArrayLike) -> NDArray[np.float64]:
    """Compute standard errors of means by linearization, for clusters drawn with replacement.

    Args:
        values: (M, Q).
        clusters: (Q,) number of each query's cluster.

    Returns:
        (M,): the root of C / (C − 1) · Σ (S − mean · n)² over clusters of n queries with sum S,
        over Q; NaN of fewer than two clusters, which tell nothing of others.
    """
    values = np.asarray(values, np.float64)
    residuals = cluster_sums(values - values.mean(1, keepdims=True), clusters)
    count = residuals.shape[1]
    if count < 2:
        return np.full(len(values), np.nan)
    return np.sqrt(count / (count - 1) * (residuals**2).sum(1)) / values.shape[1]


def sign_flip_p_values(
    differences: NDArray, clusters: ArrayLike, *, flips: int = 9999, seed: int = 0
) -> NDArray[np.float64]:
    """Test whether two models differ, by a paired permutation test, two-sided.

    If they did not, all differences on one video could as well have the opposite sign. The absolute
    sum of the differences is compared with those of random signs, one a video (Fisher, The Design
    of Experiments, 1935, section 21; for retrieval Smucker et al., CIKM 2007).

    Args:
        differences: (M, Q), what one model has more than the other on each query.
        clusters: (Q,) number of each query's cluster.
        flips: Number of random assignments of signs.
        seed: Of the signs; all measures share them.

    Returns:
        (M,), at least 1 / (flips + 1), for the assignment that was observed counts too.
    """
    sums = cluster_sums(differences, clusters)
    observed, rng = np.abs(sums.sum(1)), np.random.default_rng(seed)
    # Sums of the same numbers in another order differ in their last digits.
    least = observed - 1e-9 * np.abs(sums).sum(1)
    as_large = np.ones(len(sums), np.int64)
    for draws in _parts(flips):
        signs = rng.integers(0, 2, (draws, sums.shape[1]), np.int8) * 2.0 - 1
        as_large += (np.abs(signs @ sums.T) >= least).sum(0)
    return as_large / (flips + 1)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct p-values for the number of comparisons (Holm, Scandinavian J. Statistics 1979).

    Args:
        p_values: (n,).

    Returns:
        (n,): the i-th smallest times n − i + 1, not below a smaller one's, at most 1.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind='stable')
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1)


def subset_recalls(
    ranks: NDArray, listed: int, num_videos: int, sizes: Sequence[int], top_k: int
) -> NDArray[np.float64]:
    """Compute the expected R@K of video retrieval where the corpus is a random part of the whole.

    Each query has one right video: for several, the rank of the first does not tell how many of
    them are in the part.

    The part has the right video and others drawn at random. A right video at rank r has r − 1
    others before it; how many of them are drawn follows the hypergeometric distribution, so nothing
    is simulated. Of a right video beyond the list it is known only that all listed videos are
    before it: the recall then lies between counting it as missed and as the next after the list.

    Args:
        ranks: (Q,) rank of the right video, :data:`NEVER` where it is not in the list.
        listed: Length of the lists.
        num_videos: Videos of the whole corpus.
        sizes: Videos of the parts, each at least 1.
        top_k: The K.

    Returns:
        (sizes, 2) lower and upper bound, from 0 to 1; equal where each right video is in its list.
    """
    ranks, counts = np.unique(ranks, return_counts=True)
    missed = ranks == NEVER
    before = np.where(missed, min(listed, num_videos - 1), ranks - 1)
    drawn = np.asarray(sizes)[:, None] - 1
    found = hypergeom.cdf(top_k - 1, num_videos - 1, before, drawn)
    low = np.average(np.where(missed, 0, found), axis=1, weights=counts)
    return np.stack([low, np.average(found, axis=1, weights=counts)], 1)


def equal_groups(values: ArrayLike, count: int) -> NDArray[np.float64]:
    """Choose edges that divide values into groups of about equal size.

    Args:
        values: (Q,).
        count: Number of groups; fewer result where values are equal.

    Returns:
        (groups + 1,) increasing edges, from the smallest to the largest value.
    """
    return np.unique(np.quantile(np.asarray(values), np.linspace(0, 1, count + 1)))


def group_of(values: ArrayLike, edges: NDArray) -> NDArray[np.int64]:
    """Return the group of each value, (Q,): a value on an inner edge is in the higher group."""
    return np.searchsorted(edges[1:-1], np.asarray(values), side='right')


def _parts(total: int) -> Iterator[int]:
    for begin in range(0, total, _DRAWS_AT_ONCE):
        yield min(_DRAWS_AT_ONCE, total - begin)
