import numpy as np
import pytest
from scipy import stats

from mmreward.evaluation.seeds import seed_difference, seed_spread
from mmreward.evaluation.statistics import mean_interval


def simulate(rng, seeds, groups, between=0.0):
    """right (S, n) in pairs of rows; items differ in difficulty, seeds in skill by `between`."""
    clusters = np.repeat(np.arange(groups), 2)
    difficulty = rng.normal(0, 0.15, groups)[clusters]
    skill = rng.normal(0, between, (seeds, 1))
    probability = np.clip(0.6 + difficulty + skill, 0, 1)
    return (rng.random((seeds, 2 * groups)) < probability).astype(float), clusters


def test_by_hand():
    right = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1.0]])
    found = seed_spread(right, np.arange(4))
    assert found["seeds"] == 3 and found["accuracy"] == 0.75
    assert found["sd"] == pytest.approx(0.25)
    expected = np.clip(stats.t.interval(0.95, 2, 0.75, 0.25 / np.sqrt(3)), 0, 1)
    assert found["over_seeds_ci95"] == pytest.approx(expected)
    assert found["over_pairs_ci95"] == pytest.approx(
        mean_interval([1, 1, 2 / 3, 1 / 3], np.arange(4))
    )


def test_identical_seeds_have_no_spread_and_no_noise():
    right = np.tile([1.0, 0, 1, 1], (3, 1))
    found = seed_spread(right, np.arange(4))
    assert found["sd"] == found["noise"] == 0
    assert found["over_seeds_ci95"] == [0.75, 0.75]
    low, high = found["over_pairs_ci95"]
    assert low < 0.75 < high
    assert seed_difference(right, right, np.arange(4))["over_seeds_ci95"] is None


def test_seeds_of_equal_skill_differ_by_the_noise_and_no_more():
    rng = np.random.default_rng(0)
    found = [seed_spread(*simulate(rng, 4, 100)) for _ in range(400)]
    variance = np.mean([f["sd"] ** 2 for f in found])
    assert variance == pytest.approx(np.mean([f["noise"] ** 2 for f in found]), rel=0.08)


def test_true_differences_of_seeds_show_beyond_the_noise():
    rng = np.random.default_rng(1)
    found = [seed_spread(*simulate(rng, 4, 200, between=0.05)) for _ in range(400)]
    beyond = np.mean([f["sd"] ** 2 - f["noise"] ** 2 for f in found])
    assert np.sqrt(beyond) == pytest.approx(0.05, rel=0.1)


def test_coverage_over_seeds_and_over_pairs():
    rng = np.random.default_rng(2)
    seeds = pairs = 0
    for _ in range(2000):
        # Fixed pairs and new seeds; then fixed seeds (always the same four) and new pairs.
        right, clusters = simulate(rng, 5, 100, between=0.03)
        skilled = rng.normal(0.6, 0.03, (5, 1))
        fixed = (rng.random((5, 200)) < skilled).astype(float)
        low, high = seed_spread(fixed, clusters)["over_seeds_ci95"]
        seeds += low <= 0.6 <= high
        difficulty = rng.normal(0, 0.15, 100)[clusters]
        probability = np.clip(np.array([[0.5], [0.6], [0.65]]) + difficulty, 0, 1)
        right = (rng.random((3, 200)) < probability).astype(float)
        low, high = seed_spread(right, clusters)["over_pairs_ci95"]
        pairs += low <= np.mean([0.5, 0.6, 0.65]) <= high
    assert 1860 <= seeds <= 1940
    assert 1860 <= pairs <= 1940


def test_difference_of_two_models_with_seeds():
    rng = np.random.default_rng(3)
    first, clusters = simulate(rng, 3, 50)
    second, _ = simulate(rng, 4, 50)
    found = seed_difference(first, second, clusters)
    assert found["difference"] == pytest.approx(second.mean() - first.mean())
    welch = stats.ttest_ind(second.mean(axis=1), first.mean(axis=1), equal_var=False)
    assert found["over_seeds_ci95"] == pytest.approx(list(welch.confidence_interval(0.95)))
    assert found["over_pairs_ci95"] == pytest.approx(
        list(mean_interval(second.mean(axis=0) - first.mean(axis=0), clusters))
    )
    assert seed_difference(first[:1], second, clusters)["over_seeds_ci95"] is None


def test_an_accuracys_interval_over_seeds_stays_one() -> None:
    right = np.vstack([np.repeat([1.0, 0.0], [20, 20]), np.repeat([1.0, 0.0], [32, 8])])
    low, high = seed_spread(right, np.arange(40))["over_seeds_ci95"]
    assert (low, high) == (0.0, 1.0)  # 65 % ± 191 points
