"""Several seeds of one model on the same pairs: what another seed would change, kept apart from
what other pairs would change.

With right[s, i] for S seeds and n pairs, the accuracy of seed s is a_s and its mean over seeds a.

over pairs   other pairs of the same kind, these seeds. Of a: see `mean_accuracy_interval`; of a
             difference: paired.difference_interval of every pair's mean over seeds. With one seed
             they are the intervals of a single run. A t interval would be a point where all is
             right, and beside it reach above 1
over seeds   other seeds, these pairs: t interval of a_1 … a_S (S - 1 degrees of freedom), that of
             an accuracy cut to 0 … 1, beyond which two seeds' interval easily reaches
noise        standard deviation between seeds that arises although no seed is better than another,
             because each errs on other pairs: the residuals' share of it (two-way analysis of
             variance, Cochran 1977 for clusters). Seeds differ truly by what `sd` has beyond it.
p            of a difference, over pairs: if the models were alike, the sum over a cluster of the
             pairs' differences (each the mean over seeds) would be as likely with either sign;
             flips are sampled. Of means over unequally many seeds that is not true (three against
             one, accuracy .97: p below 5 % in 9 % of simulated sets of alike models): see
             `difference_p`

Reporting both is what Bouthillier et al. 2021 (arXiv:2103.03098) ask for.

Measured coverage of the 95 % intervals over pairs of three seeds, in per cent of simulated sets
(2,000 for the accuracy, 1,000 for the difference, 500 for what a t interval would hold: the
simulation's own errors are 0.5, 0.7 and 1). From the least to the most of four settings: pairs on
their own or in groups of three, and seeds whose latent scores of a pair correlate by 0.3 or 0.8,
those of other pairs of its group by a quarter of that.

    accuracy                .5      .9     .97     .99
      72 pairs           95-96   95-96   97-98   96-99
     240 pairs           95-96   94-96   96-97   97-99
    1038 pairs           94-95   94-95   94-95   95-98
    accuracy, t interval
      72 pairs           94-97   93-94   83-89   78-89

    difference, from .5 to .55  .9/.93 .97/.98 .99/.99
      72 pairs           94-95   94-99  98-100     100
     240 pairs           94-95   93-94   94-98  96-100
    1038 pairs              94   94-95   94-95   94-95

Five seeds, accuracy: 93 to 100.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans

from mmreward.analysis.intervals import (
    CONFIDENCE,
    Interval,
    accuracy_interval,
    cluster_bootstrap,
    cluster_sums,
    cluster_variance,
    effective_n,
    enough_to_resample,
    wilson,
)
from mmreward.analysis.paired import difference_interval, macro_sign_flip

Matrix = NDArray[np.float64]


def seed_spread(right: Matrix, clusters: NDArray[Any]) -> dict[str, Any]:
    """The module's numbers for right (S, n) of S >= 1 seeds; keys seeds, accuracy, sd, noise,
    over_pairs_ci95, over_seeds_ci95.

    sd, noise and over_seeds_ci95 are None for one seed, the last also where no seed differs.
    """
    seeds = len(right)
    accuracies = right.mean(axis=1)
    several = seeds > 1
    return {
        "seeds": seeds,
        "accuracy": float(right.mean()),
        "sd": float(accuracies.std(ddof=1)) if several else None,
        "noise": noise(right, clusters) if several else None,
        "over_pairs_ci95": list(mean_accuracy_interval(right, clusters)),
        "over_seeds_ci95": [min(max(end, 0.0), 1.0) for end in _t_interval(accuracies)]
        if np.ptp(accuracies) > 0
        else None,
    }


def noise(right: Matrix, clusters: NDArray[Any]) -> float:
    """The standard deviation between right (S, n) of S >= 2 seeds that are equally good."""
    accuracies = right.mean(axis=1)
    residuals = right - right.mean(axis=0) - (accuracies - accuracies.mean())[:, None]
    variance = sum(cluster_variance(cluster_sums(row, clusters)[0]) for row in residuals)
    return math.sqrt(variance / (len(right) - 1)) / right.shape[1]


def mean_accuracy_interval(right: Matrix, clusters: NDArray[Any]) -> Interval:
    """95 % interval over pairs of the mean accuracy of right (S, n): `accuracy_interval` of all S n
    judgements, those on one cluster being dependent.

    Where errors are too few to resample, they are too few to tell how far seeds err on the same
    pairs, and the effective sample size easily comes out too large. One more pair that all seeds
    judge wrongly (rightly, if most is wrong) is counted in the variance, not in the mean.
    """
    if len(right) == 1:
        return accuracy_interval(right[0], clusters)
    values, labels = right.ravel(), np.tile(clusters, len(right))
    sums, sizes = cluster_sums(values, labels)
    if enough_to_resample(sums, sizes):
        return cluster_bootstrap(values, labels)
    mean, pair = float(values.mean()), len(right)
    if np.ptp(sums / sizes) > 0:
        sums, sizes = np.append(sums, 0 if mean > 0.5 else pair), np.append(sizes, pair)
    n = effective_n(sums, sizes)
    return wilson(mean * n, n)


def seed_difference(first: Matrix, second: Matrix, clusters: NDArray[Any]) -> dict[str, Any]:
    """Second minus first, for (S, n) and (R, n) of S and R seeds on the same pairs: the mean, the
    interval over pairs (paired) and over seeds (Welch 1947; None with one seed of either, or
    where no seed differs), and p."""
    a, b = first.mean(axis=1), second.mean(axis=1)
    differences = second.mean(axis=0) - first.mean(axis=0)
    over_seeds = None
    if min(len(a), len(b)) > 1 and np.ptp(a) + np.ptp(b) > 0:
        means = CompareMeans.from_data(b, a)
        over_seeds = [float(end) for end in means.tconfint_diff(1 - CONFIDENCE, usevar="unequal")]
    return {
        "difference": float(b.mean() - a.mean()),
        "over_pairs_ci95": list(difference_interval(differences, clusters)),
        "over_seeds_ci95": over_seeds,
        "p": difference_p(first, second, clusters),
    }


def difference_p(first: Matrix, second: Matrix, clusters: NDArray[Any]) -> float:
    """Two-sided p of the difference between (S, n) and (R, n), by flipping the signs of clusters.

    With unequally many seeds it is the largest p of as many of each as both have, taken round in
    turn; seeds that point the other way than all of them together count as p = 1. Each of these
    is a valid p, so the largest is.
    """
    alike = min(len(first), len(second))
    whole = second.mean() - first.mean()
    found = []
    for a, b in product(_in_turn(first, alike), _in_turn(second, alike)):
        differences = b.mean(axis=0) - a.mean(axis=0)
        one_category = np.zeros(len(differences))  # the plain mean
        agrees = differences.mean() * whole >= 0
        found.append(macro_sign_flip(differences, one_category, clusters) if agrees else 1.0)
    return max(found)


def _in_turn(right: Matrix, count: int) -> list[Matrix]:
    if count == len(right):
        return [right]
    return [np.roll(right, -start, axis=0)[:count] for start in range(len(right))]


def _t_interval(values: NDArray[np.float64]) -> Interval:
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)
