import numpy as np
import pytest
from scipy.special import expit, logit

from mmreward.analysis.calibration import (
    brier,
    calibrate,
    calibration_errors,
    cross_fitted,
    error_if_calibrated,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
)


def honest(n, spread=1.5, seed=0):
    """Margins of a model whose confidences are all true."""
    rng = np.random.default_rng(seed)
    margins = np.abs(rng.normal(0, spread, n))
    return np.where(rng.random(n) < expit(margins), margins, -margins)


def test_by_hand():
    # Preferred with probability .9 and right, .8 and wrong, .6 and right.
    margins = logit(np.array([0.9, 0.2, 0.6]))
    assert log_loss(margins) == pytest.approx(-np.log([0.9, 0.2, 0.6]).mean())
    assert brier(margins) == pytest.approx((0.1**2 + 0.8**2 + 0.4**2) / 3)
    assert expected_calibration_error(margins) == pytest.approx((0.1 + 0.8 + 0.4) / 3)
    assert [b["confidence"] for b in reliability(margins)] == pytest.approx([0.6, 0.8, 0.9])
    assert [b["accuracy"] for b in reliability(margins)] == [1, 0, 1]


def test_a_coin_and_a_tie():
    margins = np.zeros(50)
    assert log_loss(margins) == pytest.approx(np.log(2))
    assert brier(margins) == 0.25
    # Sure by one half and half right.
    assert expected_calibration_error(margins) == 0


def test_huge_margins_stay_finite():
    found = calibration_errors(np.array([1e5, -1e5, 1e5, 800.0]))
    assert found["log_loss"] == pytest.approx(1e5 / 4)
    assert found["brier"] == pytest.approx(0.25)
    assert found["ece"] == pytest.approx(0.25)


def test_bins_hold_equally_many_pairs_in_order_of_confidence():
    bins = reliability(honest(1003))
    assert [b["n"] for b in bins] == [101] * 3 + [100] * 7
    confidences = [b["confidence"] for b in bins]
    assert confidences == sorted(confidences)


def test_error_of_an_honest_model_is_what_chance_alone_gives():
    errors = [expected_calibration_error(honest(500, seed=s)) for s in range(300)]
    assert np.mean(errors) == pytest.approx(error_if_calibrated(honest(500)), rel=0.06)
    assert expected_calibration_error(5 * honest(500)) > 3 * error_if_calibrated(5 * honest(500))


def test_the_temperature_that_was_put_in_comes_out():
    margins = honest(200_000)
    assert fit_temperature(margins) == pytest.approx(1, rel=0.02)
    assert fit_temperature(2.5 * margins) == pytest.approx(2.5 * fit_temperature(margins), rel=1e-3)
    assert fit_temperature(1e-6 * margins) == pytest.approx(1e-6, rel=0.02)


def test_the_temperature_is_where_the_slope_of_the_loss_is_zero():
    margins = 30 * honest(400, seed=3)
    t = fit_temperature(margins)
    assert np.mean(margins * expit(-margins / t)) == pytest.approx(0, abs=1e-4)
    assert log_loss(margins / t) <= min(log_loss(margins / (t * f)) for f in (0.9, 0.99, 1.01, 1.1))


def test_a_model_no_better_than_a_coin_is_cooled_to_one_half():
    assert fit_temperature(np.array([1.0, -1.0, 2.0, -2.0])) == np.inf
    assert log_loss(np.array([1.0, -2.0]) / np.inf) == pytest.approx(np.log(2))
    assert fit_temperature(np.zeros(4)) == np.inf


def test_a_model_that_is_always_right_may_be_sure():
    margins = np.abs(honest(50)) + 0.1
    assert log_loss(margins / fit_temperature(margins)) < 1e-6


def test_cross_fitting_calibrates_without_seeing_the_pair():
    margins = 4 * honest(3000, seed=1)
    clusters = np.arange(3000) // 3
    scaled = cross_fitted(margins, clusters)
    assert np.unique(np.round(scaled / margins, 9)).size == 5
    ratio = (scaled / margins).reshape(-1, 3)
    assert np.ptp(ratio, axis=1) == pytest.approx(0)
    assert expected_calibration_error(scaled) < 2 * error_if_calibrated(scaled)
    # A pair's own margin does not change its own scale.
    changed = margins.copy()
    changed[:3] = -50
    assert cross_fitted(changed, clusters)[0] / -50 == pytest.approx(scaled[0] / margins[0])


def test_cross_fitting_one_group_still_gives_numbers():
    assert np.isfinite(cross_fitted(honest(6), np.zeros(6))).all()


def test_a_validation_set_gives_the_temperature_and_nothing_else():
    margins, validation = 3 * honest(500, seed=4), 2 * honest(400, seed=5)
    found = calibrate(margins, np.arange(500), validation, "b/validation")
    assert found["temperature_from"] == "b/validation"
    assert found["temperature"] == fit_temperature(validation)
    assert found["scaled"] == calibration_errors(margins / fit_temperature(validation))
    assert found["ece"] == expected_calibration_error(margins)
    assert found["reliability_scaled"] == reliability(margins / found["temperature"])
    alone = calibrate(margins, np.arange(500))
    assert alone["temperature_from"] == "cross-fitted"
    assert alone["scaled"] == calibration_errors(cross_fitted(margins, np.arange(500)))


def test_a_temperature_without_bound_is_null_and_leaves_a_coin():
    found = calibrate(honest(50), np.arange(50), -np.ones(5), "b/validation")
    assert found["temperature"] is None
    assert found["scaled"]["log_loss"] == pytest.approx(np.log(2))
