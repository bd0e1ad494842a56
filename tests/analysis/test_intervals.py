import numpy as np
import pytest
from scipy import stats

from mmreward.analysis.intervals import (
    accuracy_interval,
    cluster_bootstrap,
    macro_interval,
    macro_mean,
    mean_interval,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(268, 500, 0.492, 0.579), (279, 500, 0.514, 0.601)]
)
def test_wilson_gives_published_values(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-4)


def test_wilson_closed_form_and_ends():
    n, p, z = 40, 0.25, stats.norm.ppf(0.975)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert wilson(10, 40) == pytest.approx((centre - half, centre + half))
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == pytest.approx(1)
    assert wilson(10, 10)[0] == pytest.approx(10 / (10 + z**2))


def test_independent_rows_get_wilson_and_groups_do_not():
    values = np.tile([1.0, 1.0, 0.0, 0.5], 50)
    assert accuracy_interval(values, np.arange(200)) == wilson(125, 200)
    assert accuracy_interval(values, np.arange(200) // 2) != wilson(125, 200)


def test_rows_repeated_within_their_group_add_no_information():
    values = (np.arange(300) % 3 > 0).astype(float)
    once = accuracy_interval(values, np.arange(300))
    repeated = accuracy_interval(np.repeat(values, 4), np.repeat(np.arange(300), 4))
    assert repeated[1] - repeated[0] == pytest.approx(once[1] - once[0], rel=0.03)


def test_bootstrap_over_kinds_equals_bootstrap_over_clusters():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(80), rng.integers(1, 5, 80))
    values = rng.integers(0, 2, len(clusters)).astype(float)
    weights = rng.integers(1, 3, len(clusters)).astype(float)
    sums = np.bincount(clusters, values * weights)
    sizes = np.bincount(clusters, weights)
    drawn = rng.integers(0, 80, (20_000, 80))
    expected = np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])
    found = cluster_bootstrap(values, clusters, weights, resamples=20_000)
    assert found == pytest.approx(tuple(expected), abs=4e-3)
    assert found == cluster_bootstrap(values, clusters, weights, resamples=20_000)


def test_bootstrap_blocks_leave_the_result_alone(monkeypatch):
    clusters = np.repeat(np.arange(60), 2)
    values = np.random.default_rng(1).random(120)
    whole = cluster_bootstrap(values, clusters, resamples=4000)
    monkeypatch.setattr("mmreward.analysis.intervals._BLOCK", 60 * 7)
    assert cluster_bootstrap(values, clusters, resamples=4000) == pytest.approx(whole)


def test_without_errors_the_interval_is_that_of_as_many_independent_groups():
    assert accuracy_interval(np.ones(60), np.arange(60) // 3) == wilson(20, 20)
    low, high = accuracy_interval([1.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"])
    assert 0 <= low < 0.75 < high <= 1


def test_mean_interval_is_the_t_interval_for_independent_rows():
    values = np.array([0.3, -1.2, 2.5, 0.0, 4.1])
    expected = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert mean_interval(values, np.arange(5)) == pytest.approx(expected)


def test_mean_interval_of_equal_groups_is_the_t_interval_of_their_means():
    values = np.random.default_rng(2).normal(size=(12, 3))
    means = values.mean(axis=1)
    expected = stats.t.interval(0.95, 11, means.mean(), stats.sem(means))
    assert mean_interval(values.ravel(), np.repeat(np.arange(12), 3)) == pytest.approx(expected)


def test_one_group_has_no_mean_interval():
    assert mean_interval([1.0, 2.0], ["a", "a"]) is None


def test_few_clusters_widen_the_bootstrap_by_hesterbergs_factor():
    values, clusters = np.random.default_rng(7).random(24), np.arange(24) // 2
    sums = values.reshape(12, 2).sum(axis=1)
    drawn = np.random.default_rng(0).integers(0, 12, (200_000, 12))
    reach = stats.t.ppf(0.975, 11) * np.sqrt(12 / 11)
    expected = np.quantile(sums[drawn].mean(axis=1) / 2, stats.norm.cdf([-reach, reach]))
    found = cluster_bootstrap(values, clusters, resamples=200_000)
    assert found == pytest.approx(tuple(expected), abs=2e-3)


def test_macro_counts_every_category_once():
    values, categories = np.array([1.0, 1, 1, 0, 0.5]), ["a", "a", "a", "b", "b"]
    assert macro_mean(values, categories) == pytest.approx((1 + 0.25) / 2)
    # Only category b varies: two deviations of 1/4 and weights of 1/4, 5 / (5 - 2) for 2 means.
    variance = 5 / 3 * 2 * (0.25 / 4) ** 2
    n = 0.625 * 0.375 / variance * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 3)) ** 2
    assert n > 5
    assert macro_interval(values, categories, range(5)) == wilson(0.625 * 5, 5)  # at most all
    # As pairs of rows that stand or fall together, the deviations of b cancel or add up.
    values, categories = np.tile([1.0, 0, 0, 1], 30), np.tile(["a", "a", "b", "b"], 30)
    apart, together = np.arange(120), np.tile([0, 1, 1, 0], 30) + np.repeat(range(0, 60, 2), 4)
    variance = 60 / 58 * 60 * (2 * 0.5 / 120) ** 2
    n = 0.25 / variance * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 58)) ** 2
    assert macro_interval(values, categories, together) == pytest.approx(wilson(n / 2, n))
    alone = macro_interval(values, categories, apart)
    assert alone == pytest.approx(wilson(60, 120), abs=2e-3)


def test_macro_of_one_category_is_about_the_accuracy():
    values = np.random.default_rng(5).integers(0, 2, 400).astype(float)
    found = macro_interval(values, ["a"] * 400, range(400))
    assert found == pytest.approx(wilson(values.sum(), 400), abs=1e-3)
    # All right in both: nothing varies, the smaller category decides.
    low, high = macro_interval(np.ones(60), [0] * 10 + [1] * 50, range(60))
    assert high == pytest.approx(1) and wilson(20, 20)[0] < low < wilson(60, 60)[0]


def test_coverage_for_independent_rows():
    rng = np.random.default_rng(3)
    for truth in (0.5, 0.95):
        wins = rng.binomial(300, truth, 2000)
        intervals = np.array([wilson(w, 300) for w in wins])
        covered = np.mean((intervals[:, 0] <= truth) & (truth <= intervals[:, 1]))
        assert 0.93 <= covered <= 0.97


def grouped(rng, groups, truth):
    """(right, clusters): groups of 1-5 pairs whose accuracies are beta distributed
    (correlation 1/4 within a group)."""
    clusters = np.repeat(np.arange(groups), rng.integers(1, 6, groups))
    skill = rng.beta(3 * truth, 3 * (1 - truth), groups)
    return (rng.random(len(clusters)) < skill[clusters]).astype(float), clusters


@pytest.mark.parametrize("truth", [0.6, 0.97])
def test_coverage_for_groups(truth, monkeypatch):
    monkeypatch.setitem(cluster_bootstrap.__kwdefaults__, "resamples", 600)
    rng = np.random.default_rng(4)
    covered = naive = means = 0
    for _ in range(2000):
        values, clusters = grouped(rng, 100, truth)
        low, high = accuracy_interval(values, clusters)
        covered += low <= truth <= high
        # As if the pairs were independent: about 87 %.
        low, high = wilson(values.sum(), len(values))
        naive += low <= truth <= high
        margins = values + rng.normal(size=len(values))
        low, high = mean_interval(margins, clusters)
        means += low <= truth <= high
    assert 1860 <= covered <= 1940
    assert 1860 <= means <= 1940
    assert naive < 1800


@pytest.mark.parametrize("truths", [(0.5, 0.6, 0.7), (0.9, 0.95, 0.8)])
def test_coverage_of_the_macro_average(truths):
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(2000):
        parts = [grouped(rng, g, t) for g, t in zip((40, 110, 60), truths, strict=True)]
        values = np.concatenate([v for v, _ in parts])
        categories = np.repeat(range(3), [len(v) for v, _ in parts])
        clusters = np.concatenate([1000 * k + c for k, (_, c) in enumerate(parts)])
        low, high = macro_interval(values, categories, clusters)
        covered += low <= np.mean(truths) <= high
    assert 1860 <= covered <= 1940
