"""One run against another on the same pairs: difference, interval, test, agreement.

half, strict   ties count one half, or are wrong: difference, ci95, p, p_holm, test, and
               pairs_needed to see such a difference with 80 % power (null where it is zero)
macro          difference, ci95, p, p_holm of the mean over categories; null for one category
only_first, only_this    pairs that one alone has right (an equal score is not right)
agreement, kappa         see mmreward.analysis.paired

p_holm adjusts for the number of runs that are held against the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmreward.analysis import paired
from mmreward.analysis.intervals import macro_mean
from mmreward.analysis.metrics import ci95, correctness
from mmreward.analysis.pairs import MODEL, PairTable


def difference(first: PairTable, this: PairTable) -> dict[str, Any]:
    """The module's numbers of `this` minus `first`, p_holm not among them yet."""
    before, after = first.margins[MODEL].to_numpy(), this.margins[MODEL].to_numpy()
    clusters, categories = this.pairs["cluster"].to_numpy(), this.pairs["category"].to_numpy()
    half = correctness(after) - correctness(before)
    strict = (after > 0).astype(float) - (before > 0)
    table = paired.mcnemar(before > 0, after > 0)
    independent = len(np.unique(clusters)) == len(clusters)
    share, kappa = paired.agreement(before > 0, after > 0)
    return {
        "half": {
            **_interval(half, clusters),
            "p": paired.sign_flip(half, clusters),
            "test": "exact sign flip" if independent else "exact sign flip of groups",
        },
        "strict": {
            **_interval(strict, clusters),
            "p": table.p if independent else paired.sign_flip(strict, clusters),
            "test": "exact McNemar" if independent else "exact sign flip of groups",
        },
        "macro": {
            "difference": macro_mean(half, categories),
            "ci95": ci95(paired.macro_difference_interval(half, categories, clusters)),
            "p": paired.macro_sign_flip(half, categories, clusters),
        }
        if len(set(categories)) > 1
        else None,
        "only_first": table.only_first,
        "only_this": table.only_second,
        "agreement": share,
        "kappa": kappa,
    }


def _interval(differences: NDArray[np.float64], clusters: NDArray[Any]) -> dict[str, Any]:
    return {
        "difference": float(differences.mean()),
        "ci95": ci95(paired.difference_interval(differences, clusters)),
        "pairs_needed": paired.pairs_needed(differences, clusters),
    }


def adjust(differences: Sequence[dict[str, Any]]) -> None:
    """Adds p_holm to every kind of difference, over the runs."""
    for kind in ("half", "strict", "macro"):
        tests = [difference[kind] for difference in differences if difference[kind]]
        for test, p in zip(tests, paired.holm([test["p"] for test in tests]), strict=True):
            test["p_holm"] = p
