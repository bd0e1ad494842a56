import itertools

import numpy as np
import pytest
from scipy import stats

from mmreward.analysis.intervals import accuracy_interval, mean_interval, wilson
from mmreward.analysis.paired import difference_interval
from mmreward.analysis.seeds import mean_accuracy_interval, noise, seed_difference, seed_spread


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


def test_identical_seeds_have_no_spread_and_no_noise():
    right = np.tile([1.0, 0, 1, 1], (3, 1))
    found = seed_spread(right, np.arange(4))
    assert found["sd"] == found["noise"] == 0
    assert found["over_seeds_ci95"] is None, "that no seed differs is no proof that none would"
    low, high = found["over_pairs_ci95"]
    assert low < 0.75 < high
    assert seed_difference(right, right, np.arange(4))["over_seeds_ci95"] is None


def test_seeds_of_equal_skill_differ_by_the_noise_and_no_more():
    rng = np.random.default_rng(0)
    found = [simulate(rng, 4, 100) for _ in range(400)]
    variance = np.mean([right.mean(axis=1).var(ddof=1) for right, _ in found])
    assert variance == pytest.approx(np.mean([noise(*drawn) ** 2 for drawn in found]), rel=0.08)


def test_true_differences_of_seeds_show_beyond_the_noise():
    rng = np.random.default_rng(1)
    found = [simulate(rng, 4, 200, between=0.05) for _ in range(400)]
    beyond = [drawn[0].mean(axis=1).var(ddof=1) - noise(*drawn) ** 2 for drawn in found]
    assert np.sqrt(np.mean(beyond)) == pytest.approx(0.05, rel=0.1)


def test_coverage_over_seeds():
    """Fixed pairs and new seeds."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(2000):
        skilled = rng.normal(0.6, 0.03, (5, 1))
        right = (rng.random((5, 40)) < skilled).astype(float)
        found = seed_spread(right, np.zeros(40, int))["over_seeds_ci95"]
        held += found is not None and found[0] <= 0.6 <= found[1]
    assert 1860 <= held <= 1940


def test_difference_of_two_models_with_seeds():
    rng = np.random.default_rng(3)
    first, clusters = simulate(rng, 3, 50)
    second, _ = simulate(rng, 4, 50)
    found = seed_difference(first, second, clusters)
    assert found["difference"] == pytest.approx(second.mean() - first.mean())
    welch = stats.ttest_ind(second.mean(axis=1), first.mean(axis=1), equal_var=False)
    assert found["over_seeds_ci95"] == pytest.approx(list(welch.confidence_interval(0.95)))
    low, high = found["over_pairs_ci95"]
    assert low < found["difference"] < high
    assert seed_difference(first[:1], second, clusters)["over_seeds_ci95"] is None


def test_p_of_unequally_many_seeds_is_that_of_the_least_convincing_ones():
    rng = np.random.default_rng(4)
    pairs = np.arange(300)
    first = (rng.random((3, 300)) < [[0.72], [0.74], [0.76]]).astype(float)
    one = (rng.random((1, 300)) < 0.84).astype(float)
    alone = [seed_difference(seed[None], one, pairs)["p"] for seed in first]
    assert len(set(alone)) == 3 and max(alone) < 0.5
    for order in itertools.permutations(range(3)):
        assert seed_difference(first[list(order)], one, pairs)["p"] == max(alone)
    back = seed_difference(one, first, pairs)["p"]
    assert back == pytest.approx(max(alone), abs=2e-4)


def test_seeds_that_point_the_other_way_prove_nothing():
    rng = np.random.default_rng(5)
    first = (rng.random((3, 300)) < [[0.55], [0.95], [0.95]]).astype(float)
    one = (rng.random((1, 300)) < 0.78).astype(float)
    assert seed_difference(first[:1], one, np.arange(300))["p"] < 0.01
    found = seed_difference(first, one, np.arange(300))
    assert found["difference"] < 0 and found["p"] == 1


def test_an_accuracys_interval_over_seeds_stays_one() -> None:
    right = np.vstack([np.repeat([1.0, 0.0], [20, 20]), np.repeat([1.0, 0.0], [32, 8])])
    low, high = seed_spread(right, np.arange(40))["over_seeds_ci95"]
    assert (low, high) == (0.0, 1.0)  # 65 % ± 191 points


# -- intervals over pairs ------------------------------------------------------------------

PAIRS, GROUPS = np.arange(40), np.arange(40) // 2


def mistakes(seeds, *places):
    """right (S, 40), wrong where `places` says: (seed, pair)."""
    right = np.ones((seeds, 40))
    for seed, pair in places:
        right[seed, pair] = 0
    return right


@pytest.mark.parametrize("clusters", [PAIRS, GROUPS, np.zeros(40, int)], ids=["1", "2", "40"])
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize("places", [[], [(0, 0)], [(0, 0), (0, 1)], [(0, 0), (-1, 0), (-1, 7)]])
def test_intervals_near_all_right_have_a_width_and_end_at_one(clusters, seeds, places):
    right = mistakes(seeds, *places)
    mean = right.mean()
    low, high = mean_accuracy_interval(right, clusters)
    assert 0 <= low < mean - 0.001 and mean <= high <= 1
    if not places:
        assert high == pytest.approx(1)
    # All wrong is its mirror image.
    mirrored = mean_accuracy_interval(1 - right, clusters)
    assert mirrored == pytest.approx((1 - high, 1 - low))

    found = seed_difference(mistakes(seeds), right, clusters)
    low, high = found["over_pairs_ci95"]
    assert -1 <= low < found["difference"] < high <= 1 and low < 0 < high
    assert high - low > 0.02


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("accuracy", [0.6, 0.98])
def test_with_one_seed_the_intervals_are_those_of_a_single_run(accuracy, size):
    rng = np.random.default_rng(0)
    clusters = np.arange(240) // size
    first, second = (rng.random((2, 1, 240)) < accuracy).astype(float)
    spread = seed_spread(second, clusters)
    assert spread["over_pairs_ci95"] == list(accuracy_interval(second[0], clusters))
    assert spread["sd"] is spread["noise"] is spread["over_seeds_ci95"] is None
    single = list(difference_interval(second[0] - first[0], clusters))
    assert seed_difference(first, second, clusters)["over_pairs_ci95"] == single


@pytest.mark.parametrize("accuracy", [0.6, 0.9, 0.98])
def test_seeds_that_err_alike_tell_no_more_than_one_and_others_do(accuracy):
    rng = np.random.default_rng(1)
    one = (rng.random((1, 240)) < accuracy).astype(float)
    pairs = np.arange(240)
    low, high = accuracy_interval(one[0], pairs)
    alike = mean_accuracy_interval(np.repeat(one, 3, axis=0), pairs)
    assert alike[1] - alike[0] == pytest.approx(high - low, rel=0.12)
    apart = np.stack([np.roll(one[0], shift) for shift in (0, 80, 160)])
    low, high = mean_accuracy_interval(apart, pairs)
    assert high - low < 0.9 * (alike[1] - alike[0])


def test_few_mistakes_on_different_pairs_do_not_prove_that_seeds_err_apart():
    right = np.ones((3, 240))
    right[[0, 1, 2], [10, 90, 170]] = 0
    low, high = mean_accuracy_interval(right, np.arange(240))
    independent, alike = wilson(717, 720), wilson(239, 240)
    assert alike[0] < low < independent[0] - 0.001
    assert independent[1] + 0.0003 < high < alike[1]


def judged(rng, seeds, accuracy, easy, own):
    """right (S, n): a pair's ease is shared, what is left is each seed's `own` (a share)."""
    luck = rng.normal(size=(seeds, len(easy)))
    latent = np.sqrt(1 - own) * easy + np.sqrt(own) * luck
    return (latent < stats.norm.ppf(accuracy)).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "size", "seeds", "own", "accuracy"),
    [
        (72, 1, 3, 0.2, 0.97), (72, 3, 3, 0.7, 0.9), (240, 1, 5, 0.2, 0.99),
        (240, 3, 3, 0.2, 0.99), (240, 3, 5, 0.05, 0.99), (1038, 3, 3, 0.7, 0.97),
        (240, 3, 3, 0.2, 0.5), (240, 3, 1, 0.2, 0.97),
    ],
)  # fmt: skip
def test_coverage_over_pairs(n, size, seeds, own, accuracy):
    """Of the accuracy, and of the difference from a model that is half as often wrong: at least
    95 % less three standard deviations of the simulation."""
    rng = np.random.default_rng(0)
    clusters = np.arange(n) // size
    better = (1 + accuracy) / 2
    sets, held, apart, plain = 400, 0, 0, 0
    for _ in range(sets):
        easy = np.sqrt(0.25) * rng.normal(size=n)[clusters] + np.sqrt(0.75) * rng.normal(size=n)
        right = judged(rng, seeds, accuracy, easy, own)
        low, high = mean_accuracy_interval(right, clusters)
        held += low <= accuracy <= high
        low, high = mean_interval(right.mean(axis=0), clusters)
        plain += low <= accuracy <= high
        difference = judged(rng, seeds, better, easy, own).mean(axis=0) - right.mean(axis=0)
        low, high = difference_interval(difference, clusters)
        apart += low <= better - accuracy <= high
    least = sets * (0.95 - 3 * np.sqrt(0.95 * 0.05 / sets))
    assert held >= least and apart >= least
    if n * (1 - accuracy) < 5:
        assert plain < least, "where mistakes are few the t interval is too narrow"
