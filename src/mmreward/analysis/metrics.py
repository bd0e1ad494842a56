"""From a score table to the numbers of metrics.json.

Per set (see mmreward.analysis.pairs):

n                  pairs. Accuracy is their plain mean: each preference counts once, also the six
                   of a record with four answers. The weights in records.jsonl are for training.
n_records          records with a pair; n_groups: groups that may be dependent. Rows of one `group`
                   are, and where a record names none, so are the pairs of one record.
n_duplicates       records that occur earlier in the set with the same content
n_ties             pairs whose two answers got the same score: right by one half in `accuracy`,
                   wrong in `strict`
n_judged_equal     pairs that the data calls equal; no accuracy counts them
n_with_images      records with images
accuracy, strict, mean_margin (score of the better answer minus the other, in the model's units)
categories         {category: n, accuracy, accuracy_ci95}
controls           {condition or rule: n, accuracy, accuracy_ci95, difference, difference_ci95}
                   on the pairs that exist there (only records with images can be blinded).
                   `difference` is the model minus the control over the same pairs. Of
                   `normalised` also n_changed, the pairs with an answer whose white space was
                   collapsed, and n_same, those whose answers became the same and tie; null where
                   the table does not hold the texts.
image_gain         the difference from `blind_image`, where it was scored
macro              accuracy, accuracy_ci95 and strict of the mean over categories; null for one
official           what the benchmark's own script reports, see mmreward.analysis.official; empty
                   for a set without one
reference          `variants` {variant: its title} and `published` lines of the set's benchmark, for
                   the report; of a comparison once for all its runs
rows               what became of the set's rows, see `sets` in mmreward.scoring.table; empty
                   where that is not known
calibration        see mmreward.analysis.calibration
length             see mmreward.analysis.length
interval           "wilson" or "clustered"
*_ci95             [low, high], see mmreward.analysis.intervals; null where one row gives none
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmreward.analysis.calibration import calibrate
from mmreward.analysis.intervals import (
    Interval,
    accuracy_interval,
    macro_interval,
    macro_mean,
    mean_interval,
)
from mmreward.analysis.length import length_bias, length_differences
from mmreward.analysis.official import Reference, References, nothing_known, official
from mmreward.analysis.paired import difference_interval
from mmreward.analysis.pairs import (
    BLIND,
    MODEL,
    NORMALISED,
    UNCATEGORISED,
    PairTable,
    judged_sets,
    pair_tables,
    validation_of,
)
from mmreward.files import replace_file
from mmreward.scoring.conditions import collapse
from mmreward.scoring.table import ScoreTable

METRICS = "metrics.json"


def evaluate(
    table: ScoreTable, references: References = nothing_known
) -> dict[str, dict[str, Any]]:
    """The metrics of every set, as the module describes. Raises UserError as `pair_tables`.

    references: looks up what is known of the benchmark that a set is
    """
    sets = pair_tables(table)
    found = {}
    for name, pairs in judged_sets(sets).items():
        known = references(name)
        metrics = set_metrics(pairs, validation_of(sets, name), known)
        found[name] = {**metrics, "reference": known.told()}
    return found


def write_metrics(
    folder: Path, benchmarks: Mapping[str, Any], training: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Writes metrics.json and returns its content."""
    metrics = {"benchmarks": dict(benchmarks), "training": dict(training or {})}
    text = json.dumps(metrics, indent=2, allow_nan=False)
    replace_file(folder / METRICS, text + "\n")
    return metrics


def correctness(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where the better answer has the higher score, 1/2 on equal scores, else 0."""
    return (np.sign(margins) + 1) / 2


def set_metrics(
    table: PairTable, validation: PairTable | None, reference: Reference
) -> dict[str, Any]:
    """The metrics of one set, as the module describes, without the reference itself.

    validation: fits the temperature; reference: has the script of the official numbers
    """
    pairs, records = table.pairs, table.records
    clusters = pairs["cluster"].to_numpy()
    right = {name: correctness(table.margins[name].to_numpy()) for name in table.margins}
    model, margin = right[MODEL], table.margins[MODEL].to_numpy()
    n_groups = pairs["cluster"].nunique()
    controls = {
        name: _control(model, values, clusters) for name, values in right.items() if name != MODEL
    }
    categories = {
        str(name): accuracy(model[where], clusters[where])
        for name, where in pairs.groupby("category", sort=True).indices.items()
    }
    metrics: dict[str, Any] = {
        **accuracy(model, clusters),
        "strict": float((margin > 0).mean()),
        "mean_margin": float(margin.mean()),
        "mean_margin_ci95": ci95(mean_interval(margin, clusters)),
        "interval": "wilson" if n_groups == len(pairs) else "clustered",
        "n_records": int(pairs["row"].nunique()),
        "n_groups": int(n_groups),
        "n_duplicates": len(records) - len({row["record"] for row in records}),
        "n_ties": int((margin == 0).sum()),
        "n_judged_equal": sum(len(row.get("ties", ())) for row in records),
        "n_with_images": sum(bool(row.get("media")) for row in records),
        "categories": {} if list(categories) == [UNCATEGORISED] else categories,
        "macro": _macro(model, margin, pairs["category"].to_numpy(), clusters),
        "official": official(table, reference),
        "rows": dict(table.rows),
        "controls": controls,
        "calibration": _calibration(margin, clusters, validation),
        "length": _length(table, margin, model, clusters),
    }
    if BLIND in controls:
        blind = controls[BLIND]
        metrics["image_gain"] = {
            "n": blind["n"],
            "difference": blind["difference"],
            "ci95": blind["difference_ci95"],
        }
    if NORMALISED in controls:
        controls[NORMALISED] |= _collapsed(table)
    return metrics


def accuracy(right: NDArray[np.float64], clusters: NDArray[Any]) -> dict[str, Any]:
    """n, accuracy and its interval of rows (n,) that are right (1), half right or wrong."""
    return {
        "n": len(right),
        "accuracy": float(right.mean()),
        "accuracy_ci95": ci95(accuracy_interval(right, clusters)),
    }


def _macro(
    model: NDArray[np.float64],
    margin: NDArray[np.float64],
    categories: NDArray[Any],
    clusters: NDArray[Any],
) -> dict[str, Any] | None:
    if len(set(categories)) < 2:
        return None
    return {
        "accuracy": macro_mean(model, categories),
        "accuracy_ci95": ci95(macro_interval(model, categories, clusters)),
        "strict": macro_mean(margin > 0, categories),
    }


def _control(
    model: NDArray[np.float64], control: NDArray[np.float64], clusters: NDArray[Any]
) -> dict[str, Any]:
    here = ~np.isnan(control)
    difference = model[here] - control[here]
    return {
        **accuracy(control[here], clusters[here]),
        "difference": float(difference.mean()),
        "difference_ci95": ci95(difference_interval(difference, clusters[here])),
    }


def _calibration(
    margins: NDArray[np.float64], clusters: NDArray[Any], validation: PairTable | None
) -> dict[str, Any]:
    if validation is None:
        return calibrate(margins, clusters)
    fitted_on = validation.margins[MODEL].to_numpy()
    return calibrate(margins, clusters, fitted_on, validation.name)


def _length(
    table: PairTable,
    margins: NDArray[np.float64],
    right: NDArray[np.float64],
    clusters: NDArray[Any],
) -> dict[str, Any]:
    longer_by, unit = length_differences(table.records, table.pairs)

    def within(mask: NDArray[np.bool_]) -> dict[str, Any]:
        return accuracy(right[mask], clusters[mask])

    return {"unit": unit, **length_bias(margins, longer_by, clusters, within)}


def _collapsed(table: PairTable) -> dict[str, int | None]:
    """What collapsing white space did to the answers of the pairs."""
    texts = [[answer.get("text") for answer in row["answers"]] for row in table.records]
    if any(text is None for answers in texts for text in answers):
        return {"n_changed": None, "n_same": None}
    changed = same = 0
    places = zip(table.pairs["row"], table.pairs["better"], table.pairs["worse"], strict=True)
    for row, better, worse in places:
        before = texts[row][better], texts[row][worse]
        after = tuple(collapse(text) for text in before)
        changed += before != after
        same += before[0] != before[1] and after[0] == after[1]
    return {"n_changed": changed, "n_same": same}


def ci95(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
