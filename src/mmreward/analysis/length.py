"""Does the model prefer long answers? Measured on pairs, because scores of single answers mix
the answer's length with the prompt's.

Differences are always better answer minus the other: a model that knows the truth and does not
mind length shows no correlation, however long the better answers are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mmreward.analysis.intervals import CONFIDENCE, Interval, cluster_sums, cluster_variance

Vector = NDArray[np.float64]


def length_differences(records: Sequence[dict[str, Any]], pairs: Any) -> tuple[Vector, str]:
    """Length of the better answer minus the other's, (n,), and its unit.

    In tokens where every answer has its count, else in characters.
    """
    unit = "tokens"
    if any(a.get("tokens") is None for row in records for a in row["answers"]):
        unit = "chars"
    lengths = [[answer[unit] for answer in row["answers"]] for row in records]
    rows = zip(pairs["row"], pairs["better"], pairs["worse"], strict=True)
    found = np.array([lengths[r][better] - lengths[r][worse] for r, better, worse in rows])
    return found.astype(float), "tokens" if unit == "tokens" else "characters"


def rank_correlation(x: Vector, y: Vector, clusters: NDArray[Any]) -> tuple[float, Interval] | None:
    """Spearman's correlation of x and y (n,) with a clustered 95 % interval.

    None where one of them does not vary or there is one cluster. The interval is a t interval of
    Fisher's z whose variance is the sum over clusters of the squared influence of their rows,
    that on the ranks of all others included (Borkowf 2002, Comput. Stat. Data Anal. 39:271).
    Coverage in 2,000 simulated sets, rows in groups of 2-3: 94 % with 46 groups, 95 with 120.
    """
    groups = len(np.unique(clusters))
    if np.ptp(x) == 0 or np.ptp(y) == 0 or groups < 2:
        return None
    a, b = stats.rankdata(x) / len(x), stats.rankdata(y) / len(y)
    sa, sb = a.std(), b.std()
    a, b = (a - a.mean()) / sa, (b - b.mean()) / sb
    r = float(np.mean(a * b))
    influence = a * b + _above(x, b) / sa + _above(y, a) / sb
    sums, _ = cluster_sums(influence - influence.mean(), clusters)
    spread = cluster_variance(sums) / len(x) ** 2
    if abs(r) > 1 - 1e-9:
        return r, (r, r)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, groups - 1) * spread**0.5 / (1 - r**2)
    z = np.arctanh(r)
    return r, (float(np.tanh(z - half)), float(np.tanh(z + half)))


def _above(x: Vector, values: Vector) -> Vector:
    """(n,) sum of `values` over the rows whose x is above x_i, half where it is equal, over n."""
    order = np.argsort(x, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(values[order])])
    below = total[np.searchsorted(x[order], x, side="left")]
    upto = total[np.searchsorted(x[order], x, side="right")]
    return (total[-1] - (below + upto) / 2) / len(x)


def length_bias(
    margins: Vector,
    longer_by: Vector,
    clusters: NDArray[Any],
    accuracy: Callable[[NDArray[np.bool_]], dict[str, Any]],
) -> dict[str, Any]:
    """Correlation of margin and length difference, and the accuracy where the better answer is
    the longer and the shorter one.

    accuracy: gives n, accuracy and interval of the pairs that a mask (n,) selects
    """
    found = rank_correlation(margins, longer_by, clusters)
    return {
        "correlation": None if found is None else found[0],
        "correlation_ci95": None if found is None else list(found[1]),
        "better_is_longer": accuracy(longer_by > 0) if (longer_by > 0).any() else None,
        "better_is_shorter": accuracy(longer_by < 0) if (longer_by < 0).any() else None,
        "n_equally_long": int((longer_by == 0).sum()),
    }
