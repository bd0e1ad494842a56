"""Runs that differ in the seed alone, taken together as one variant; held against the first.

{name of the variant: the numbers below}, in the order of the runs

runs, seeds        names of its runs, one per seed, and how many they are
repeats            {run: the run of the same seed that stands for both}; these are no further
                   seeds and count in none of the numbers
accuracy           mean over the seeds
over_pairs_ci95, over_seeds_ci95, sd, noise    see mmreward.analysis.seeds; for one seed the
                   first is the interval of its accuracy and the others are null
difference         from the first variant, null for that itself: see seed_difference; p_holm is
                   adjusted for the number of variants held against the first
image_gain         n, difference, ci95: how much better each pair is judged with its image than
                   with it greyed out, mean over the seeds; null where that was not scored
seconds            of training, mean over the seeds; null where unknown
peak_memory_mb     of training, the largest of the seeds; null where unknown
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmreward.analysis.metrics import correctness
from mmreward.analysis.paired import difference_interval, holm
from mmreward.analysis.pairs import BLIND, MODEL, PairTable
from mmreward.analysis.runs import Run
from mmreward.analysis.seeds import seed_difference, seed_spread


def variants(runs: Sequence[Run], tables: Mapping[str, PairTable]) -> dict[str, Any]:
    """The module's numbers over the same pairs of all runs.

    runs:   those without a variant (a score table alone) are left out
    tables: {run: its pairs}, the same pairs in the same order in all
    """
    groups: dict[str, dict[int | None, list[Run]]] = {}
    for run in runs:
        if run.variant is not None and run.name in tables:
            groups.setdefault(run.variant, {}).setdefault(run.seed, []).append(run)
    found: dict[str, Any] = {}
    first: NDArray[np.float64] | None = None
    for name, seeds in groups.items():
        # The same seed again is the same experiment: as a seed it would hide how seeds differ.
        members = [alike[0] for alike in seeds.values()]
        own = [tables[run.name] for run in members]
        clusters = own[0].pairs["cluster"].to_numpy()
        right = _stack(own, MODEL)
        found[name] = {
            "runs": [run.name for run in members],
            "repeats": {
                again.name: kept.name for kept, *others in seeds.values() for again in others
            },
            **seed_spread(right, clusters),
            "difference": None if first is None else seed_difference(first, right, clusters),
            "image_gain": _image_gain(own, clusters),
            "seconds": _over_seeds(members, "seconds", fmean),
            "peak_memory_mb": _over_seeds(members, "peak_memory_mb", max),
        }
        first = right if first is None else first
    differences = [row["difference"] for row in found.values() if row["difference"]]
    adjusted = holm([difference["p"] for difference in differences])
    for difference, p in zip(differences, adjusted, strict=True):
        difference["p_holm"] = p
    return found


def _stack(tables: Iterable[PairTable], condition: str) -> NDArray[np.float64]:
    return np.stack([correctness(table.margins[condition].to_numpy()) for table in tables])


def _image_gain(tables: Sequence[PairTable], clusters: NDArray[Any]) -> dict[str, Any] | None:
    if any(BLIND not in table.margins for table in tables):
        return None
    # Records without an image have no score without it, whatever the seed.
    here = tables[0].margins[BLIND].notna().to_numpy()
    gain = (_stack(tables, MODEL) - _stack(tables, BLIND)).mean(axis=0)[here]
    return {
        "n": int(here.sum()),
        "difference": float(gain.mean()),
        "ci95": list(difference_interval(gain, clusters[here])),
    }


def _over_seeds(runs: Sequence[Run], name: str, summary: Any) -> float | None:
    values = [run.training[name] for run in runs if name in run.training]
    return float(summary(values)) if values else None
