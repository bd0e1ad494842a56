"""Confidence intervals for accuracies and means, with and without groups of dependent rows.

Which interval, and why:

- Accuracy, every group has one row: Wilson (1927). Unlike the textbook p +- z*se it keeps its
  level near 0 and 1, where a good model lives.
- Accuracy, groups with several rows: the rows of a group rise and fall together, so whole groups
  are resampled and the 2.5 and 97.5 percentiles of the resampled accuracy are taken (Davison and
  Hinkley 1997, ch. 3.8).
- The same where fewer than `MIN_INFORMATIVE_GROUPS` groups hold an error, or as few a success:
  the bootstrap has too little to resample (alone it covers 90 % at accuracy .97 with 46 or 100
  groups, and without any error it is a single point). Wilson is then taken at the effective
  sample size p(1-p)/v, with v the variance of the mean over groups, a little smaller because v
  is itself an estimate (Korn and Graubard 1998; Franco, Little, Louis and Slud 2019).
- The mean over categories (macro) of accuracies: Wilson at the effective sample size of that mean.
- Mean margins: Student's t on the linearised mean with groups as units (Cochran 1977, ch. 6), the
  ordinary t interval where every group has one row.
- Differences between two models or conditions on the same pairs: `mmreward.analysis.paired`.

Measured coverage of the clustered 95 % accuracy interval, in per cent of 2,000 simulated sets
(groups of 1-5 pairs, intra-group correlation 0.25; the simulation's own error is 0.5):

    accuracy      .5   .6   .9   .97
     10 groups    96   95   98   97
     20 groups    95   95   96   98
     46 groups    95   95   95   97
    100 groups    94   94   93   93
    360 groups    95   95   95   94

The macro average over three categories, accuracies .5/.6/.7 and .9/.95/.8: 95 and 94 with 46
groups in all, 95 and 95 with 210.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

Interval = tuple[float, float]

CONFIDENCE = 0.95
RESAMPLES = 10_000
MIN_INFORMATIVE_GROUPS = 40
# Cells of one block of resampled group counts; bounds memory, does not change the result's law.
_BLOCK = 2_000_000


def wilson(successes: float, n: float) -> Interval:
    """Wilson score interval of a proportion; `successes` may hold halves (ties).

    A tie counted as one half varies less than a coin, so ties make the interval a little wide.

    Reference: Wilson 1927, J. Am. Stat. Assoc. 22:209.
    """
    low, high = proportion_confint(successes, n, alpha=1 - CONFIDENCE, method="wilson")
    return max(0.0, float(low)), min(1.0, float(high))


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any],
    weights: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the (weighted) mean of `values` (n,), resampling whole clusters.

    The plain 2.5 and 97.5 percentiles are too close together for few clusters, as a normal
    interval with the variance's divisor G would be. They are taken further out by the same factor
    sqrt(G / (G - 1)) * t / z (Hesterberg 2015, Am. Stat. 69:371, "expanded percentiles").

    clusters: (n,) labels; rows of one label are drawn together
    weights:  (n,) row weights, 1 by default; the statistic is sum(w * v) / sum(w)

    Clusters with the same sum and weight are interchangeable, so their number is drawn instead
    of each of them (a multinomial over the distinct kinds). Same law, and thousands of times
    less work for accuracies.
    """
    sums, sizes = cluster_sums(values, clusters, weights)
    kinds, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // len(counts))
    means = []
    for start in range(0, resamples, step):
        block = min(step, resamples - start)
        drawn = rng.multinomial(len(sums), counts / len(sums), size=block)
        total, weight = (drawn @ kinds.T).T
        means.append(total / weight)
    g = len(sums)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, g - 1) * (g / (g - 1)) ** 0.5
    tail = stats.norm.sf(reach)
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def accuracy_interval(values: ArrayLike, clusters: Sequence[Any] | NDArray[Any]) -> Interval:
    """95 % interval of the mean of `values` (n,), each 0, 1/2 (tie) or 1; the module says which.

    clusters: (n,) labels of the rows that are not independent of each other
    """
    values = np.asarray(values, dtype=float)
    sums, sizes = cluster_sums(values, clusters)
    if len(sums) == len(values):
        return wilson(values.sum(), len(values))
    if enough_to_resample(sums, sizes):
        return cluster_bootstrap(values, clusters)
    n = effective_n(sums, sizes)
    return wilson(float(values.mean()) * n, n)


def enough_to_resample(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> bool:
    """Whether clusters (G,) of accuracies hold what the bootstrap needs; see the module."""
    informative = min(np.count_nonzero(sums < sizes), np.count_nonzero(sums > 0))
    return bool(informative >= MIN_INFORMATIVE_GROUPS and np.ptp(sums / sizes) > 0)


def mean_interval(values: ArrayLike, clusters: Sequence[Any] | NDArray[Any]) -> Interval | None:
    """95 % t interval of the mean of `values` (n,), clustered; None with fewer than two clusters.

    With sums s_g and sizes w_g of G clusters and mean m, the standard error is
    sqrt(G / (G - 1) * sum((s_g - m * w_g)^2)) / n, with G - 1 degrees of freedom.
    """
    sums, sizes = cluster_sums(values, clusters)
    if len(sums) < 2:
        return None
    mean = float(sums.sum() / sizes.sum())
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(sums) - 1) * variance(mean, sums, sizes) ** 0.5
    return mean - float(half), mean + float(half)


def macro_mean(values: ArrayLike, categories: Sequence[Any] | NDArray[Any]) -> float:
    """Mean over categories of the mean of `values` (n,) in each: every category counts once."""
    return float(np.sum(macro_weights(categories) * np.asarray(values, dtype=float)))


def macro_weights(categories: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64]:
    """(n,) weights that sum to 1, 1 / (K n_k) for the n_k rows of each of the K categories."""
    _, index, counts = np.unique(np.asarray(categories), return_inverse=True, return_counts=True)
    return 1 / (len(counts) * counts[index])


def macro_interval(
    values: ArrayLike,
    categories: Sequence[Any] | NDArray[Any],
    clusters: Sequence[Any] | NDArray[Any],
) -> Interval:
    """95 % interval of `macro_mean` of accuracies (n,): Wilson at the effective sample size.

    With u_i = w_i (v_i - mean of i's category), the variance is G / (G - K) times the sum of the
    squares of u's sums over G clusters, for K categories. Where every category is all right or
    all wrong, the effective size is 1 / sum(W_g^2) of the clusters' weights W_g (Kish 1965).
    """
    v = np.asarray(values, dtype=float)
    weights = macro_weights(categories)
    mean = float(np.sum(weights * v))
    sums, sizes = cluster_sums(centred(v, categories), clusters, weights)
    free = degrees_of_freedom(sums, categories)
    spread = cluster_variance(sums, free)
    if spread > 0:
        n = mean * (1 - mean) / spread * _few(free)
    else:
        n = 1 / float(np.sum(sizes**2))
    n = float(np.clip(n, 1.0, len(v)))
    return wilson(mean * n, n)


def centred(
    values: NDArray[np.float64], categories: Sequence[Any] | NDArray[Any]
) -> NDArray[np.float64]:
    """`values` (n,) minus the mean of their category."""
    _, index = np.unique(np.asarray(categories), return_inverse=True)
    return values - (np.bincount(index, values) / np.bincount(index))[index]


def degrees_of_freedom(sums: NDArray[np.float64], categories: Sequence[Any] | NDArray[Any]) -> int:
    """G clusters less the K category means that were estimated from them; at least 1."""
    return max(1, len(sums) - len(np.unique(np.asarray(categories))))


def cluster_variance(sums: NDArray[np.float64], free: int | None = None) -> float:
    """Variance of the total of G independent cluster sums (G,) whose mean is zero; `free` degrees
    of freedom, G - 1 by default."""
    g = len(sums)
    return float(g / (free or max(g - 1, 1)) * np.sum(sums**2))


def cluster_sums(
    values: ArrayLike, clusters: Sequence[Any] | NDArray[Any], weights: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted sum and total weight of every cluster, each (G,)."""
    values = np.asarray(values, dtype=float)
    row_weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=float)
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, row_weights * values).astype(float)
    return sums, np.bincount(index, row_weights).astype(float)


def variance(mean: float, sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> float:
    """Variance of a ratio of cluster totals (linearised)."""
    return cluster_variance(sums - mean * sizes) / float(sizes.sum()) ** 2


def effective_n(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> float:
    """Independent rows that would tell as much about an accuracy; between 1 and n, and the number
    of clusters where all agree (then nothing can be learnt about the dependence)."""
    if np.ptp(sums / sizes) == 0:
        return float(len(sums))
    mean = float(sums.sum() / sizes.sum())
    n = mean * (1 - mean) / variance(mean, sums, sizes) * _few(len(sums) - 1)
    return float(np.clip(n, 1.0, sizes.sum()))


def _few(free: int) -> float:
    """(z / t)^2: what an effective size loses because its variance is itself an estimate with
    `free` degrees of freedom (Korn and Graubard 1998)."""
    p = (1 + CONFIDENCE) / 2
    return float((stats.norm.ppf(p) / stats.t.ppf(p, free)) ** 2)
