"""Clustered bootstrap against what is known in closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.statistics import Estimate, Interval, estimate, ratios, resample_ratios


def _means(values_P, cluster_P, *, seed=0, num_resamples=2000):
    column = np.asarray(values_P, dtype=float)[:, None]
    return resample_ratios(
        column, np.ones_like(column), np.asarray(cluster_P), seed=seed, num_resamples=num_resamples
    )[:, 0]


def test_spread_of_an_independent_mean_is_sd_over_root_n():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    draws = _means(values, np.arange(400), num_resamples=8000)
    assert draws.mean() == pytest.approx(values.mean(), abs=0.01)
    assert draws.std() == pytest.approx(values.std(ddof=1) / np.sqrt(400), rel=0.03)


def test_spread_is_unbiased_with_few_clusters():
    # drawing all C clusters instead of C − 1 would give sqrt(4/5) = 0.89 of this
    values = np.array([0.0, 1.0, 4.0, 5.0, 9.0])
    draws = _means(values, np.arange(5), num_resamples=40_000)
    assert draws.std() == pytest.approx(values.std(ddof=1) / np.sqrt(5), rel=0.02)


def test_copies_in_one_cluster_do_not_make_it_surer():
    values = np.random.default_rng(2).normal(size=100)
    once = _means(values, np.arange(100), num_resamples=8000)
    fourfold = _means(np.repeat(values, 4), np.repeat(np.arange(100), 4), num_resamples=8000)
    naive = _means(np.repeat(values, 4), np.arange(400), num_resamples=8000)
    assert fourfold.std() == pytest.approx(once.std(), rel=0.03)
    assert naive.std() == pytest.approx(once.std() / 2, rel=0.05)


def test_intervals_cover_the_truth_as_often_as_they_claim():
    random = np.random.default_rng(3)
    hits = 0
    for trial in range(400):
        per_cluster = random.normal(size=80)
        cluster = np.repeat(np.arange(80), 3)
        values = per_cluster[cluster] + random.normal(size=240)
        found = estimate(values.mean(), _means(values, cluster, seed=trial), 80)
        hits += found.interval.low <= 0.0 <= found.interval.high
    # 95 % ± 3 standard errors of 400 trials, and a percentile interval's slight optimism
    assert 0.915 <= hits / 400 <= 0.985


@pytest.mark.parametrize("num_clusters", [2, 3, 5, 10, 30])
def test_intervals_of_few_clusters_are_honest_too(num_clusters):
    """Percentiles alone would hold the truth in 51, 77, 86, 91 and 92 per cent of the trials."""
    random = np.random.default_rng(5)
    hits = 0
    for trial in range(600):
        cluster = np.repeat(np.arange(num_clusters), 4)
        values = random.normal(size=num_clusters)[cluster] + 0.2 * random.normal(size=len(cluster))
        found = estimate(values.mean(), _means(values, cluster, seed=trial, num_resamples=400), num_clusters)
        hits += found.interval.low <= 0.0 <= found.interval.high
    assert 0.91 <= hits / 600 <= 0.975


def test_intervals_of_many_clusters_are_the_percentiles_of_the_draws():
    draws = np.random.default_rng(6).normal(size=4000)
    found = estimate(0.0, draws, 10_000).interval
    assert [found.low, found.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), rel=1e-3)
    shifted = estimate(5.0, draws, 4).interval  # a value beyond its draws makes no interval narrower
    assert shifted.low < found.low
    assert shifted.high == pytest.approx(found.high, rel=1e-3)


def test_difference_of_columns_is_paired():
    random = np.random.default_rng(4)
    hard = random.normal(size=300)  # how hard a prompt is moves both columns alike
    pair = np.stack([hard + 0.1 + 0.01 * random.normal(size=300), hard], axis=1)
    draws = resample_ratios(pair, np.ones_like(pair), np.arange(300), seed=0)
    difference = draws[:, 0] - draws[:, 1]
    assert difference.std() < 0.05 * draws[:, 0].std()
    assert difference.mean() == pytest.approx(0.1, abs=0.005)


def test_ratio_weighs_by_its_denominator():
    numerator, denominator = np.array([[1.0], [0.0], [3.0]]), np.array([[1.0], [0.0], [2.0]])
    assert ratios(numerator, denominator)[0] == pytest.approx(4 / 3)
    assert np.isnan(ratios(np.zeros((2, 1)), np.zeros((2, 1)))[0])


def test_no_interval_from_one_cluster_and_none_of_nothing():
    assert estimate(0.5, _means([0.0, 1.0], [7, 7]), 1) == Estimate(0.5, None)
    assert estimate(float("nan"), np.zeros(10), 10) is None


def test_no_interval_where_the_ratio_is_often_undefined():
    draws = np.array([np.nan] * 5 + [1.0] * 95)
    assert estimate(1.0, draws, 20) == Estimate(1.0, None)


@pytest.mark.parametrize(("low", "high", "excludes"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False)])
def test_interval_excludes_zero(low, high, excludes):
    assert Interval(low, high).excludes_zero is excludes


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-5, 5), min_size=2, max_size=30),
    shift=st.floats(-3, 3),
    scale=st.floats(0.1, 4),
    seed=st.integers(0, 2**40),
)
def test_resampled_means_follow_shift_and_scale_and_stay_inside(values, shift, scale, seed):
    cluster = np.arange(len(values)) // 2
    if len(set(cluster)) < 2:
        return
    array = np.array(values)
    plain = _means(array, cluster, seed=seed, num_resamples=50)
    moved = _means(scale * array + shift, cluster, seed=seed, num_resamples=50)
    np.testing.assert_allclose(moved, scale * plain + shift, atol=1e-9)
    assert plain.min() >= array.min() - 1e-9
    assert plain.max() <= array.max() + 1e-9


@given(st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_labels_of_clusters_do_not_matter(labels):
    values = np.arange(24, dtype=float) ** 1.5
    cluster = np.repeat(np.arange(12), 2)
    plain = _means(values, cluster, num_resamples=4000)
    named = _means(values, np.array(labels)[cluster], num_resamples=4000)
    assert named.mean() == pytest.approx(plain.mean(), rel=0.03)
    assert named.std() == pytest.approx(plain.std(), rel=0.1)


@pytest.mark.parametrize(("values", "clusters"), [([0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 2, 2]), ([0, 1, 1], [0, 1, 2])])
def test_interval_of_a_share_stays_between_nothing_and_all(values, clusters):
    draws = _means(values, clusters)
    free = estimate(float(np.mean(values)), draws, 3).interval
    assert free.low < 0.0 or free.high > 1.0
    bound = estimate(float(np.mean(values)), draws, 3, (0.0, 1.0)).interval
    assert (bound.low, bound.high) == (max(0.0, free.low), min(1.0, free.high))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_none_or_all_of_a_few_is_no_certainty(value):
    """Wilson: 0 of 12 leaves up to 24 %, as the rule of three's 25 % does."""
    found = estimate(value, np.full(200, value), 12, (0.0, 1.0)).interval
    reach = 1.959964**2 / (12 + 1.959964**2)
    assert [found.low, found.high] == pytest.approx([0.0, reach] if value == 0.0 else [1.0 - reach, 1.0])


def test_bounds_change_nothing_inside_them():
    draws = 0.5 + 0.05 * np.random.default_rng(1).normal(size=500)
    assert estimate(0.5, draws, 40, (0.0, 1.0)) == estimate(0.5, draws, 40)
