import itertools

import numpy as np
import pytest
from scipy import stats

from mmreward.analysis.intervals import cluster_bootstrap, macro_mean, mean_interval
from mmreward.analysis.paired import (
    agreement,
    difference_interval,
    holm,
    macro_difference_interval,
    macro_sign_flip,
    mcnemar,
    pairs_needed,
    sign_flip,
)


def discordant(n, only_first, only_second):
    """d of n independent pairs."""
    d = np.zeros(n)
    d[:only_first] = -1
    d[only_first : only_first + only_second] = 1
    return d


def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs():
    first, second = np.zeros(500, bool), np.zeros(500, bool)
    first[:119], second[119:249] = True, True
    first[300:], second[300:] = True, True
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (119, 130)
    assert found.p == pytest.approx(stats.binomtest(119, 249).pvalue)
    assert found.p == pytest.approx(0.526, abs=5e-4)
    assert mcnemar(first, first).p == 1


def test_flipping_independent_pairs_is_mcnemar():
    for only_first, only_second in ((119, 130), (3, 12), (0, 7), (5, 5)):
        d = discordant(400, only_first, only_second)
        expected = stats.binomtest(only_first, only_first + only_second).pvalue
        assert sign_flip(d, np.arange(400)) == pytest.approx(expected)


def test_flips_of_clusters_and_ties_are_all_counted():
    d = np.array([1, 0.5, -0.5, 1, 1, -1, 0.5, 0.5, -1, 1])
    clusters = np.array([0, 0, 1, 2, 2, 3, 3, 4, 5, 5])
    sums = np.bincount(clusters, d)
    signs = np.array(list(itertools.product((-1, 1), repeat=6)))
    expected = np.mean(np.abs(signs @ sums) >= abs(sums.sum()))
    assert sign_flip(d, clusters) == pytest.approx(expected)
    assert sign_flip(-d, clusters) == sign_flip(d, clusters)
    assert sign_flip(np.zeros(10), clusters) == 1


def test_copies_of_a_pair_in_its_cluster_prove_nothing():
    d = discordant(60, 8, 20)
    once = sign_flip(d, np.arange(60))
    assert sign_flip(np.repeat(d, 5), np.repeat(np.arange(60), 5)) == pytest.approx(once)
    assert sign_flip(np.repeat(d, 5), np.arange(300)) < once / 100


def test_macro_flips_are_the_exact_ones_up_to_sampling():
    rng = np.random.default_rng(0)
    d = rng.integers(-1, 2, 14).astype(float)
    categories = np.array(["a"] * 3 + ["b"] * 11)
    clusters = np.repeat(np.arange(7), 2)
    weights = np.where(categories == "a", 1 / 6, 1 / 22)
    sums = np.bincount(clusters, weights * d)
    signs = np.array(list(itertools.product((-1, 1), repeat=7)))
    expected = np.mean(np.abs(signs @ sums) >= abs(sums.sum()) - 1e-12)
    assert macro_sign_flip(d, categories, clusters) == pytest.approx(expected, abs=0.006)
    # One category is the plain mean.
    one = macro_sign_flip(d, ["a"] * 14, clusters)
    assert one == pytest.approx(sign_flip(d, clusters), abs=0.006)


def test_tests_keep_their_level_when_models_are_equal():
    rng = np.random.default_rng(1)
    clusters, categories = np.arange(300) // 3, np.arange(300) % 2
    plain, macro = [], []
    for _ in range(2000):
        lean = rng.choice([0.25, 0.75], 100)[clusters]
        d = np.where(rng.random(300) < 0.4, np.where(rng.random(300) < lean, 1.0, -1.0), 0.0)
        plain.append(sign_flip(d, clusters) < 0.05)
        macro.append(macro_sign_flip(d, categories, clusters, flips=999) < 0.05)
    assert 0.03 < np.mean(plain) < 0.065
    assert 0.03 < np.mean(macro) < 0.065


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_pairs_needed_is_connors_formula():
    # Hand-computed: 49.8 % discordant, 2.2 points apart.
    d = discordant(500, 119, 130)
    assert pairs_needed(d, np.arange(500)) == pytest.approx(8074, abs=2)
    assert pairs_needed(-d, np.arange(500)) == pairs_needed(d, np.arange(500))
    assert pairs_needed(discordant(500, 20, 20), np.arange(500)) is None
    copies = pairs_needed(np.repeat(d, 4), np.repeat(np.arange(500), 4))
    assert copies == pytest.approx(4 * 8074, rel=0.01)


def test_as_many_pairs_as_needed_give_the_promised_power():
    rng = np.random.default_rng(2)
    d = discordant(1000, 40, 80)
    n = pairs_needed(d, np.arange(1000))
    seen = 0
    for _ in range(2000):
        only_first, only_second, _ = rng.multinomial(n, [0.04, 0.08, 0.88])
        z = (only_second - only_first) / np.sqrt(only_first + only_second)
        seen += abs(z) > 1.96
    assert 0.77 < seen / 2000 < 0.83


def test_agreement_and_kappa():
    first = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    assert agreement(first, first) == (1, 1)
    assert agreement(first, ~first) == (0, -1)
    share, kappa = agreement(first, np.array([1, 1, 0, 0, 1, 1, 0, 0], bool))
    assert (share, kappa) == (0.5, 0)
    assert agreement(np.ones(3, bool), np.ones(3, bool)) == (1, 1)


def test_difference_of_many_discordant_pairs_is_the_bootstrap():
    d = discordant(500, 119, 130)
    interval = difference_interval(d, np.arange(500))
    assert interval == cluster_bootstrap(d, np.arange(500))
    assert interval == pytest.approx((-0.040, 0.084), abs=0.0021)


def test_few_discordant_pairs_give_an_interval_by_bonett_and_price():
    low, high = difference_interval(discordant(100, 1, 3), np.arange(100))
    up, down = 4 / 102, 2 / 102
    half = stats.norm.ppf(0.975) * np.sqrt((up + down - (up - down) ** 2) / 102)
    assert (low, high) == pytest.approx((up - down - half, up - down + half))
    # No difference at all is no proof that there is none.
    low, high = difference_interval(np.zeros(100), np.arange(100))
    assert low == -high and 0.02 < high < 0.04
    # 100 rows in 20 groups that all agree are no more than 20 rows.
    grouped = difference_interval(np.zeros(100), np.arange(100) // 5)
    assert grouped == difference_interval(np.zeros(20), np.arange(20))
    assert difference_interval(np.ones(3), ["a"] * 3)[1] <= 1


@pytest.mark.parametrize("step", [1, -1, 0.5])
@pytest.mark.parametrize("size", [1, 4])
def test_a_difference_that_all_pairs_share_is_not_known_exactly(step, size):
    low, high = difference_interval(np.full(40, step), np.arange(40) // size)
    assert -1 <= low <= step <= high <= 1 and high - low > 0.1


def test_macro_difference_of_one_category_is_the_mean():
    d = np.random.default_rng(3).normal(size=40)
    clusters = np.arange(40) // 2
    assert macro_difference_interval(d, ["a"] * 40, clusters) == pytest.approx(
        mean_interval(d, clusters)
    )
    assert macro_difference_interval(d, ["a"] * 40, ["g"] * 40) is None


def simulated(rng, groups, share, difference):
    """(d, clusters): groups of 1-5 pairs (independent pairs if negative); of the pairs, `share`
    are judged differently and the mean of d is `difference`. Correlation within groups is 1/4."""
    sizes = rng.integers(1, 6, groups) if groups > 0 else np.ones(-groups, int)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    up = (share + difference) / (2 * share)
    differs, second = np.full(len(sizes), share), np.full(len(sizes), up)
    if groups > 0:
        differs = rng.beta(3 * share, 3 * (1 - share), groups)
        second = rng.beta(3 * up, 3 * (1 - up), groups)
    differ = rng.random(len(clusters)) < differs[clusters]
    sign = np.where(rng.random(len(clusters)) < second[clusters], 1.0, -1.0)
    return np.where(differ, sign, 0.0), clusters


def coverage(groups, share, difference, sets=2000):
    rng = np.random.default_rng(4)
    intervals = [
        difference_interval(*simulated(rng, groups, share, difference)) for _ in range(sets)
    ]
    low, high = np.array(intervals).T
    return np.mean((low <= difference) & (difference <= high))


@pytest.mark.parametrize(
    ("groups", "share", "difference"),
    [(-500, 0.5, 0.022), (100, 0.1, 0.05), (150, 0.3, 0.2)],
)
def test_coverage_of_the_difference(groups, share, difference, monkeypatch):
    monkeypatch.setitem(cluster_bootstrap.__kwdefaults__, "resamples", 600)
    assert 0.93 <= coverage(groups, share, difference) <= 0.97


@pytest.mark.parametrize(
    ("groups", "net", "both"), [(20, 0.1, 0.3), (100, 0.02, 0.1), (300, 0.01, 0.05)]
)
def test_coverage_where_differences_cancel_within_groups(groups, net, both):
    """Groups of two pairs: `net` of them have one difference, `both` have one each way."""
    rng, covered = np.random.default_rng(6), 0
    for _ in range(500):
        kind, sign = rng.random(groups), np.where(rng.random(groups) < 0.75, 1.0, -1.0)
        d = np.zeros((groups, 2))
        d[:, 0] = np.where(kind < net + both, sign, 0)
        d[:, 1] = np.where((kind >= net) & (kind < net + both), -sign, 0)
        low, high = difference_interval(d.ravel(), np.arange(2 * groups) // 2)
        covered += low <= net / 4 <= high
    assert covered >= 0.93 * 500


def test_differences_that_cancel_but_for_rounding_are_none():
    """Means over three seeds: 1 - 2/3 is not 1/3."""
    d = np.array([1 - 2 / 3, -1 / 3] * 12 + [0.0, 0.0] * 8)
    assert np.count_nonzero(d.reshape(20, 2).sum(axis=1)) == 12
    groups = np.arange(40) // 2
    low, high = difference_interval(d, groups)
    assert low < -0.1 and high > 0.1
    exact = np.array([1 / 3, -1 / 3] * 12 + [0.0, 0.0] * 8)
    assert (low, high) == pytest.approx(difference_interval(exact, groups))
    # That all groups share one difference is seen through rounding, too.
    same = np.array([1 / 3] * 3 + [1 - 2 / 3] * 2 + [2 / 3 - 1 / 3] * 55)
    assert np.ptp(difference_interval(same, np.arange(60) // 3)) > 0.1


def test_coverage_of_the_macro_difference():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(2000):
        d, clusters = simulated(rng, 150, 0.4, 0.1)
        categories = np.searchsorted([20, 60], clusters)
        low, high = macro_difference_interval(d, categories, clusters)
        covered += low <= 0.1 <= high
    assert 1860 <= covered <= 1940
    assert macro_mean(d, categories) == pytest.approx(
        np.mean([d[categories == c].mean() for c in range(3)])
    )
