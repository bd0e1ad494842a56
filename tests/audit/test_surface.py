import numpy as np
import pytest
from score_tables import make

from mmreward.audit.surface import FEATURES, classify, features


def test_features_by_hand():
    found = dict(
        zip(FEATURES, features("How many red dots?", "Red, red.\n- 12 dots!"), strict=True)
    )
    assert found["characters"] == np.log1p(20)
    assert found["words"] == np.log1p(4)
    assert found["line breaks"] == found["list items and headings"] == np.log1p(1)
    assert found["sentence ends"] == found["digits"] == np.log1p(2)
    assert found["commas"] == np.log1p(1)
    assert found["characters per word"] == 12 / 4
    assert found["share of distinct words"] == found["share of words from the prompt"] == 0.75
    assert np.isfinite(features("", "…")).all()


def pairs(n, texts, seed=0, noise=0.0):
    """texts(i) -> (better, worse); a share `noise` of the preferences is turned round."""
    rng = np.random.default_rng(seed)
    return [make(f"q{i}", texts(i), (1, 0) if rng.random() < noise else (0, 1)) for i in range(n)]


def test_a_formatting_rule_is_found():
    records = pairs(300, lambda i: (f"one {i}.\n- two", f"one {i}. two"), noise=0.1)
    found = classify(records, [r.prompt for r in records])
    assert found["accuracy"] == pytest.approx(0.9, abs=0.05)
    assert found["accuracy_ci95"][0] > 0.8 and found["n"] == 300
    assert found["weights"]["line breaks"] > 0 > found["weights"]["commas"] - 1e-6


def test_preferences_without_a_surface_are_a_coin():
    rng = np.random.default_rng(1)

    def noise(i):
        return tuple("x" * rng.integers(1, 80) + "\n" * rng.integers(0, 3) for _ in range(2))

    records = pairs(600, noise)
    low, high = classify(records, [r.prompt for r in records])["accuracy_ci95"]
    assert low < 0.5 < high


def test_a_group_is_never_on_both_sides():
    # Each question has one surface that wins, always the same within it: what is learnt from a
    # question's other pairs would solve it, what is learnt from other questions is a coin.
    rng = np.random.default_rng(2)
    wins = rng.random(40) < 0.5
    records = [
        make(f"q{i % 40} {i}", ("a" * 60, "a b c") if wins[i % 40] else ("a b c", "a" * 60))
        for i in range(800)
    ]
    found = classify(records, [f"g{i % 40}" for i in range(800)])
    assert found["accuracy"] < 0.7
    low, high = found["accuracy_ci95"]
    assert high - low > 0.2  # 40 groups, not 800 pairs


def test_identical_surfaces_tie_and_order_is_no_feature():
    records = pairs(100, lambda i: ("same", "same"))
    assert classify(records, [r.prompt for r in records])["accuracy"] == 0.5


def test_too_little_to_cross_validate():
    records = pairs(60, lambda i: ("a", "bb"))
    assert classify(records, ["g"] * 60) is None
    assert classify(records[:20], [r.prompt for r in records[:20]]) is None
