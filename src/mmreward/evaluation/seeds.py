"""Several seeds of one model on the same pairs: what another seed would change, kept apart from
what other pairs would change.

With right[s, i] for S seeds and n pairs, the accuracy of seed s is a_s and its mean over seeds a.

over pairs   other pairs of the same kind, these seeds: the mean over seeds of every pair, clustered
over seeds   other seeds, these pairs: t interval of a_1 … a_S (S - 1 degrees of freedom), that of
             an accuracy cut to 0 … 1, beyond which two seeds' interval easily reaches
noise        standard deviation between seeds that arises although no seed is better than another,
             because each errs on other pairs: the residuals' share of it (two-way analysis of
             variance, Cochran 1977 for clusters). Seeds differ truly by what `sd` has beyond it.
p            of a difference, over pairs: if the models were alike, the sum over a cluster of the
             pairs' differences (each the mean over seeds) would be as likely with either sign;
             flips are sampled

Reporting both is what Bouthillier et al. 2021 (arXiv:2103.03098) ask for.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mmreward.evaluation.paired import macro_sign_flip
from mmreward.evaluation.statistics import (
    CONFIDENCE,
    Interval,
    cluster_sums,
    cluster_variance,
    mean_interval,
)

Matrix = NDArray[np.float64]


def seed_spread(right: Matrix, clusters: NDArray[Any]) -> dict[str, Any]:
    """The module's numbers for right (S, n) of S >= 2 seeds; keys accuracy, seeds, sd, noise,
    over_pairs_ci95, over_seeds_ci95."""
    accuracies = right.mean(axis=1)
    over_pairs = mean_interval(right.mean(axis=0), clusters)
    residuals = right - right.mean(axis=0) - (accuracies - accuracies.mean())[:, None]
    noise = sum(cluster_variance(cluster_sums(row, clusters)[0]) for row in residuals)
    return {
        "seeds": len(right),
        "accuracy": float(accuracies.mean()),
        "sd": float(accuracies.std(ddof=1)),
        "noise": math.sqrt(noise / (len(right) - 1)) / right.shape[1],
        "over_pairs_ci95": None if over_pairs is None else list(over_pairs),
        "over_seeds_ci95": [min(max(end, 0.0), 1.0) for end in _t_interval(accuracies)],
    }


def seed_difference(first: Matrix, second: Matrix, clusters: NDArray[Any]) -> dict[str, Any]:
    """Second minus first, for (S, n) and (R, n) of S and R seeds on the same pairs: the mean, the
    interval over pairs (paired) and over seeds (Welch 1947; None with one seed of either, or
    where no seed differs), and p."""
    a, b = first.mean(axis=1), second.mean(axis=1)
    differences = second.mean(axis=0) - first.mean(axis=0)
    over_pairs = mean_interval(differences, clusters)
    over_seeds = None
    if min(len(a), len(b)) > 1 and np.ptp(a) + np.ptp(b) > 0:
        test = stats.ttest_ind(b, a, equal_var=False)
        interval = test.confidence_interval(CONFIDENCE)
        over_seeds = [float(interval.low), float(interval.high)]
    return {
        "difference": float(b.mean() - a.mean()),
        "over_pairs_ci95": None if over_pairs is None else list(over_pairs),
        "over_seeds_ci95": over_seeds,
        # One category: the plain mean.
        "p": macro_sign_flip(differences, np.zeros(len(differences)), clusters),
    }


def _t_interval(values: NDArray[np.float64]) -> Interval:
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)
