"""Comparisons of models against naive versions, exact enumeration and numbers worked by hand."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from reloclnet_mm.evaluation.comparison import (
    NEVER,
    bootstrap_intervals,
    cluster_sums,
    clustered_errors,
    equal_groups,
    first_hits,
    group_of,
    holm,
    sign_flip_p_values,
    subset_recalls,
)


def clustered(seed=0, queries=300, clusters=60, measures=3):
    rng = np.random.default_rng(seed)
    own = rng.integers(0, clusters, queries)
    return rng.random((measures, queries)), own


def test_the_first_hit_is_counted_from_one_and_none_is_never():
    hits = np.array([[[0, 1, 1], [1, 0, 0]], [[0, 0, 0], [0, 0, 1]]], bool)
    np.testing.assert_array_equal(first_hits(hits), [[2, 1], [NEVER, 3]])
    np.testing.assert_array_equal(first_hits(np.zeros((2, 0), bool)), [NEVER, NEVER])


def test_sums_of_clusters_are_those_of_a_loop():
    values, own = clustered()
    naive = [[row[own == c].sum() for c in np.unique(own)] for row in values]
    np.testing.assert_allclose(cluster_sums(values, own), naive)


def test_the_interval_is_that_of_a_loop_over_drawn_clusters():
    values, own = clustered()
    names = np.unique(own)
    rng = np.random.default_rng(1)
    means = []
    for _ in range(4000):
        drawn = rng.choice(names, len(names))
        queries = np.concatenate([np.flatnonzero(own == c) for c in drawn])
        means.append(values[:, queries].mean(1))
    naive = np.quantile(means, [0.025, 0.975], axis=0).T
    found = bootstrap_intervals(values, own, resamples=4000)
    width = naive[:, 1] - naive[:, 0]
    assert (np.abs(found - naive) < 0.06 * width[:, None]).all()


def test_with_one_query_a_cluster_it_is_the_percentile_interval_of_scipy():
    values = np.random.default_rng(2).random(80)
    expected = bootstrap((values,), np.mean, method='percentile', n_resamples=9999, rng=3)
    low, high = bootstrap_intervals(values[None], np.arange(80), resamples=9999)[0]
    width = high - low
    assert low == pytest.approx(expected.confidence_interval.low, abs=0.05 * width)
    assert high == pytest.approx(expected.confidence_interval.high, abs=0.05 * width)


def test_the_interval_of_half_hits_is_that_of_the_binomial_distribution():
    # 400 independent queries, half of them right: a normal of standard deviation 0.025
    values = np.tile([0.0, 1.0], 200)[None]
    low, high = bootstrap_intervals(values, np.arange(400), resamples=5000)[0]
    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.004)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.004)


def test_queries_that_repeat_in_their_cluster_do_not_narrow_the_interval():
    values = np.random.default_rng(4).random((1, 50))
    alone = bootstrap_intervals(values, np.arange(50))
    repeated = bootstrap_intervals(np.repeat(values, 10, 1), np.repeat(np.arange(50), 10))
    np.testing.assert_allclose(repeated, alone)
    as_if_independent = bootstrap_intervals(np.repeat(values, 10, 1), np.arange(500))
    assert np.ptp(as_if_independent) < 0.5 * np.ptp(alone)


def test_measures_share_their_draws_and_a_seed_repeats_them():
    values, own = clustered()
    found = bootstrap_intervals(values, own, resamples=300)
    np.testing.assert_allclose(bootstrap_intervals(values[1:2], own, resamples=300), found[1:2])
    shifted = bootstrap_intervals(values + 1, own, resamples=300)
    np.testing.assert_allclose(shifted, found + 1)


def test_the_clustered_error_is_the_spread_of_the_bootstrap():
    values, own = clustered(queries=900, clusters=150)
    low, high = bootstrap_intervals(values, own, resamples=5000, confidence=0.6827).T
    np.testing.assert_allclose(clustered_errors(values, own), (high - low) / 2, rtol=0.05)


def test_with_one_query_a_cluster_the_error_is_that_of_the_textbook():
    values = np.random.default_rng(8).random((2, 7))
    expected = values.std(1, ddof=1) / np.sqrt(7)
    np.testing.assert_allclose(clustered_errors(values, np.arange(7)), expected)


def test_one_cluster_tells_neither_an_error_nor_an_interval():
    values, own = np.array([[0.0, 1, 1], [1, 1, 1]]), [4, 4, 4]
    assert np.isnan(clustered_errors(values, own)).all()
    assert np.isnan(bootstrap_intervals(values, own)).all()


def exact_p(sums):
    """Over all 2^C signs."""
    all_signs = np.array(list(product((-1, 1), repeat=len(sums))))
    return (np.abs(all_signs @ sums) >= abs(sums.sum()) - 1e-9).mean()


@pytest.mark.parametrize('shift', [0.0, 0.3, 0.8])
def test_p_is_that_of_all_assignments_of_signs(shift):
    rng = np.random.default_rng(5)
    own = rng.permutation(np.repeat(np.arange(12), 3))
    differences = rng.normal(shift, 1, (2, 36))
    exact = [exact_p(sums) for sums in cluster_sums(differences, own)]
    found = sign_flip_p_values(differences, own, flips=40_000)
    for p, q in zip(found, exact, strict=True):
        assert p == pytest.approx(q, abs=4 * np.sqrt(q * (1 - q) / 40_000) + 1e-4)


def test_equal_models_have_a_p_of_one_and_very_different_ones_the_least_possible():
    own = np.arange(100)
    differences = np.stack([np.zeros(100), np.ones(100)])
    np.testing.assert_allclose(sign_flip_p_values(differences, own, flips=999), [1, 1 / 1000])


def test_p_values_of_equal_models_are_uniform():
    rng = np.random.default_rng(6)
    differences = rng.normal(0, 1, (400, 120))
    p = sign_flip_p_values(differences, np.arange(120) // 3, flips=999)
    share = np.array([(p <= level).mean() for level in (0.05, 0.25, 0.5)])
    spread = norm.ppf(0.999) * np.sqrt(np.array([0.05, 0.25, 0.5]) / 400)
    assert (np.abs(share - [0.05, 0.25, 0.5]) < spread).all()


def test_holm_by_hand():
    # sorted .01 .02 .03 .04: 4 · .01, 3 · .02, 2 · .03, 1 · .04 → raised to .06
    np.testing.assert_allclose(holm([0.02, 0.04, 0.01, 0.03]), [0.06, 0.06, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.6]), [1, 1])
    np.testing.assert_allclose(holm([0.04]), [0.04])


def test_recall_in_a_part_of_the_corpus_is_that_of_drawn_parts():
    rng, num_videos = np.random.default_rng(7), 30
    ranks = np.array([1, 2, 4, 9, 30])
    sizes, top_k = [1, 5, 12, 30], 2
    drawn = np.zeros((len(sizes), len(ranks)))
    for i, size in enumerate(sizes):
        for j, rank in enumerate(ranks):
            others = np.delete(np.arange(1, num_videos + 1), rank - 1)
            parts = [rng.choice(others, size - 1, replace=False) for _ in range(4000)]
            drawn[i, j] = np.mean([(part < rank).sum() < top_k for part in parts])
    bounds = subset_recalls(ranks, num_videos, num_videos, sizes, top_k)
    np.testing.assert_allclose(bounds[:, 0], bounds[:, 1])
    np.testing.assert_allclose(bounds[:, 0], drawn.mean(1), atol=0.015)
    np.testing.assert_allclose(bounds[-1], 2 / 5)


def test_what_a_list_does_not_show_is_between_missed_and_next_after_it():
    # One of two right videos is not among the 3 listed of 10; of 4 videos, 3 of 9 others are drawn.
    none_of_three_drawn = (6 * 5 * 4) / (9 * 8 * 7)
    bounds = subset_recalls(np.array([1, NEVER]), 3, 10, [4, 10], 1)
    np.testing.assert_allclose(bounds, [[0.5, 0.5 + none_of_three_drawn / 2], [0.5, 0.5]])


def test_groups_have_about_equal_sizes_and_edges_belong_to_the_higher():
    edges = equal_groups(np.arange(100), 4)
    np.testing.assert_array_equal(np.bincount(group_of(np.arange(100), edges)), [25] * 4)
    np.testing.assert_array_equal(equal_groups([3, 3, 3], 4), [3])
    np.testing.assert_array_equal(group_of([0, 1, 2, 5], np.array([0, 1, 2, 5])), [0, 1, 2, 2])
