import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mmreward.analysis.length import length_bias, length_differences, rank_correlation


def count(mask):
    return {"n": int(mask.sum())}


def test_the_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, 200).astype(float)
    y = x + rng.normal(0, 4, 200)
    found, interval = rank_correlation(x, y, np.arange(200))
    expected = stats.spearmanr(x, y)
    assert found == pytest.approx(expected.statistic)
    assert interval[0] < found < interval[1]
    # Fisher's approximation for ranks (Bonett and Wright 2000).
    half = stats.norm.ppf(0.975) * np.sqrt((1 + found**2 / 2) / (200 - 3))
    assert interval == pytest.approx(
        tuple(np.tanh(np.arctanh(found) + np.array([-half, half]))), abs=0.03
    )


def test_copies_of_rows_add_nothing():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 150))
    once = rank_correlation(x, y, np.arange(150))[1]
    copied = rank_correlation(np.tile(x, 4), np.tile(y, 4), np.tile(np.arange(150), 4))[1]
    assert copied[1] - copied[0] == pytest.approx(once[1] - once[0], rel=0.08)


def test_nothing_to_correlate():
    assert rank_correlation(np.ones(5), np.arange(5.0), np.arange(5)) is None
    assert rank_correlation(np.arange(5.0), np.arange(5.0), np.zeros(5)) is None


def test_coverage_of_the_correlation():
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(120), 2)
    rho = 0.3
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of a bivariate normal
    covered = 0
    for _ in range(2000):
        # Both coordinates correlate within the group; rho between them everywhere.
        group = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 120)[clusters]
        own = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 240)
        x, y = (np.sqrt(0.4) * group + np.sqrt(0.6) * own).T
        low, high = rank_correlation(x, y, clusters)[1]
        covered += low <= truth <= high
    assert 1860 <= covered <= 1940


def test_better_answers_being_longer_is_not_a_bias_of_the_model():
    rng = np.random.default_rng(3)
    longer_by = rng.normal(200, 50, 400)
    blind_to_length = rng.normal(2, 1, 400)
    found = length_bias(blind_to_length, longer_by, np.arange(400), count)
    low, high = found["correlation_ci95"]
    assert low < 0 < high
    biased = length_bias(0.01 * longer_by, longer_by, np.arange(400), count)
    assert biased["correlation"] == pytest.approx(1)


def test_accuracy_where_the_better_is_longer_shorter_and_equal():
    longer_by = np.array([3.0, -1, 0, 5, -2, 0])
    found = length_bias(
        np.arange(6.0), longer_by, np.arange(6), lambda m: {"where": list(m.nonzero()[0])}
    )
    assert found["better_is_longer"] == {"where": [0, 3]}
    assert found["better_is_shorter"] == {"where": [1, 4]}
    assert found["n_equally_long"] == 2
    none = length_bias(np.arange(6.0), np.zeros(6), np.arange(6), count)
    assert none["better_is_longer"] is None and none["correlation"] is None


def test_tokens_where_all_are_known_else_characters():
    def answers(*tokens):
        return {"answers": [{"chars": 10 * i, "tokens": t} for i, t in enumerate(tokens)]}

    pairs = pd.DataFrame({"row": [0, 1, 1], "better": [0, 2, 1], "worse": [1, 0, 2]})
    found, unit = length_differences([answers(5, 1), answers(2, 4, 9)], pairs)
    assert found.tolist() == [4, 7, -5] and unit == "tokens"
    found, unit = length_differences([answers(5, 1), answers(2, None, 9)], pairs)
    assert found.tolist() == [-10, 20, -10] and unit == "characters"
