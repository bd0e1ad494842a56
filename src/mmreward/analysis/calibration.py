"""How far sigma(margin) can be read as the probability that an answer is the better one.

A margin is the score of the better answer minus the other, so sigma(margin) is the probability
the model gave to what people said (Bradley and Terry 1952). Read without the label: the model is
`confidence` = sigma(|margin|) sure of the answer it prefers, and right, half right (tie) or wrong
about it.

`calibrate` gives, as plain JSON:

ece, brier, log_loss     of the margins as they are; ece_if_calibrated: what chance alone makes of
                         the first on so many pairs
temperature              what the margins are divided by (null: infinite, the model is no better
                         than a coin where it was fitted)
temperature_from         the validation set it was fitted on, or "cross-fitted": each fold by the
                         other folds' pairs, and `temperature` is that of all
scaled                   the four errors after that division
reliability, reliability_scaled    the diagrams' bins, before and after it
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit

BINS = 10
FOLDS = 5
CROSS_FITTED = "cross-fitted"
# Temperatures looked through, in units of the margins' own size.
WIDEST = 1e4

Margins = NDArray[np.float64]


def log_loss(margins: Margins) -> float:
    """Mean of -log sigma(margin) over pairs (n,), in nats: the training loss, log 2 for a coin."""
    return float(-log_expit(margins).mean())


def brier(margins: Margins) -> float:
    """Mean of (1 - sigma(margin))^2 over pairs (n,); 1/4 for a coin (Brier 1950)."""
    return float((expit(-margins) ** 2).mean())


def reliability(margins: Margins) -> list[dict[str, Any]]:
    """The reliability diagram: up to `BINS` bins of equally many pairs by confidence, least first.

    n, confidence and accuracy (means over the bin) and `right`, the sum behind the accuracy.
    """
    confidence, right = _judged(margins)
    bins = np.array_split(np.argsort(confidence, kind="stable"), min(BINS, len(margins)))
    return [
        {
            "n": len(rows),
            "right": float(right[rows].sum()),
            "accuracy": float(right[rows].mean()),
            "confidence": float(confidence[rows].mean()),
        }
        for rows in bins
    ]


def expected_calibration_error(margins: Margins) -> float:
    """Mean distance of accuracy and confidence over bins of equally many pairs.

    Reference: Guo et al. 2017 (arXiv:1706.04599); bins of equal size after Nguyen and O'Connor
    2015 (arXiv:1508.05154). It is never 0 in a finite sample: see `error_if_calibrated`.
    """
    bins = reliability(margins)
    return sum(b["n"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / len(margins)


def error_if_calibrated(margins: Margins) -> float:
    """About what `expected_calibration_error` would be on average if every confidence were true.

    Right minus confidence, summed over a bin, then has mean 0 and variance sum(c (1 - c)); the
    mean of the absolute value of such a normal variable is sqrt(2 / pi) of its deviation.
    """
    confidence = np.sort(_judged(margins)[0])
    bins = np.array_split(confidence, min(BINS, len(confidence)))
    return sum(math.sqrt(2 / math.pi * float(np.sum(c * (1 - c)))) for c in bins) / len(confidence)


def fit_temperature(margins: Margins) -> float:
    """The T that minimises `log_loss(margins / T)`; infinite where the model is no better than a
    coin, and close to 0 where it is always right.

    Fit it on pairs other than those it is judged on. The loss is convex in 1 / T, so there is one
    minimum. Reference: Guo et al. 2017 (arXiv:1706.04599).
    """
    # The slope of the loss at 1 / T = 0 is -mean(margin) / 2.
    if margins.mean() <= 0:
        return float("inf")
    unit = float(np.abs(margins).mean())
    limit = np.log(WIDEST)
    found = minimize_scalar(
        lambda log_t: log_loss(margins / (unit * np.exp(log_t))),
        bounds=(-limit, limit),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(unit * np.exp(found.x))


def cross_fitted(
    margins: Margins, clusters: Sequence[Any] | NDArray[Any], seed: int = 0
) -> Margins:
    """`margins` (n,), each divided by a temperature fitted on the other folds' pairs.

    For sets without a validation split. Clusters are kept whole, in `FOLDS` folds by `seed`.
    """
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(index.max() + 1) % FOLDS)[index]
    scaled = np.zeros_like(margins)
    for number in np.unique(fold):
        here = fold == number
        rest = margins[~here] if not here.all() else margins
        scaled[here] = margins[here] / fit_temperature(rest)
    return scaled


def calibrate(
    margins: Margins,
    clusters: Sequence[Any] | NDArray[Any],
    validation: Margins | None = None,
    name: str = "",
) -> dict[str, Any]:
    """The module's numbers for margins (n,), with a temperature fitted on the margins (m,) of the
    validation set `name`, or cross-fitted without one."""
    temperature = fit_temperature(margins if validation is None else validation)
    scaled = cross_fitted(margins, clusters) if validation is None else margins / temperature
    return {
        **calibration_errors(margins),
        "temperature": temperature if math.isfinite(temperature) else None,
        "temperature_from": CROSS_FITTED if validation is None else name,
        "scaled": calibration_errors(scaled),
        "reliability": reliability(margins),
        "reliability_scaled": reliability(scaled),
    }


def calibration_errors(margins: Margins) -> dict[str, float]:
    """The three errors of margins (n,), and what the first would be if they were calibrated."""
    return {
        "ece": expected_calibration_error(margins),
        "ece_if_calibrated": error_if_calibrated(margins),
        "brier": brier(margins),
        "log_loss": log_loss(margins),
    }


def _judged(margins: Margins) -> tuple[Margins, Margins]:
    """(confidence, right: 0, 1/2 or 1), each (n,)."""
    return expit(np.abs(margins)), (np.sign(margins) + 1) / 2
