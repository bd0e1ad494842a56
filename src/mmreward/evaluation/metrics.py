"""From a score table to the numbers of metrics.json.

Per set (benchmark; a split other than the test split is named `<benchmark>/<split>`):

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
interval           "wilson" or "clustered"
*_ci95             [low, high], see mmreward.evaluation.statistics; null where one row gives none
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmreward.errors import UserError
from mmreward.evaluation.controls import collapse
from mmreward.evaluation.paired import difference_interval
from mmreward.evaluation.rules import RULES
from mmreward.evaluation.statistics import Interval, accuracy_interval, mean_interval
from mmreward.evaluation.tables import SCORES, ScoreTable

METRICS = "metrics.json"
MODEL = "intact"
BLIND = "blind_image"
NORMALISED = "normalised"
UNCATEGORISED = "uncategorised"

# Conditions under which a record may lack scores: they need an image, or a donor of one.
NEEDS_IMAGES = {"blind_image", "text_only"}
NEEDS_DONOR = {"swapped_image"}


@dataclass(frozen=True)
class PairTable:
    """The pairs of one set.

    pairs:   row (index into `records`), category, cluster, better, worse; one line per pair
    margins: score of the better answer minus the worse, one column per condition and rule; NaN
             where the record is not part of the condition
    """

    records: list[dict[str, Any]]
    pairs: pd.DataFrame
    margins: pd.DataFrame


def pair_tables(table: ScoreTable) -> dict[str, PairTable]:
    """The sets of a score table by name.

    Raises UserError if a set has no pair, the model's own scores are missing, or a condition
    was scored for some answers only.
    """
    scores = {condition: table.by_answer(condition) for condition in table.conditions}
    sets: dict[str, list[dict[str, Any]]] = {}
    for row in table.records:
        name, split = row["benchmark"], row["split"]
        sets.setdefault(name if split == "test" else f"{name}/{split}", []).append(row)
    return {name: _pair_table(table, name, rows, scores) for name, rows in sets.items()}


def evaluate(table: ScoreTable) -> dict[str, dict[str, Any]]:
    """The metrics of every set, as the module describes. Raises UserError as `pair_tables`."""
    return {name: set_metrics(pairs) for name, pairs in pair_tables(table).items()}


def write_metrics(
    folder: Path, benchmarks: Mapping[str, Any], training: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Writes metrics.json and returns its content."""
    metrics = {"benchmarks": dict(benchmarks), "training": dict(training or {})}
    text = json.dumps(metrics, indent=2, allow_nan=False)
    (folder / METRICS).write_text(text + "\n", encoding="utf-8")
    return metrics


def correctness(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where the better answer has the higher score, 1/2 on equal scores, else 0."""
    return (np.sign(margins) + 1) / 2


def _pair_table(
    table: ScoreTable,
    name: str,
    records: list[dict[str, Any]],
    scores: Mapping[str, Mapping[tuple[str, int], float]],
) -> PairTable:
    pairs = pd.DataFrame(
        [
            (index, row["category"] or UNCATEGORISED, _cluster(row), pair[0], pair[1])
            for index, row in enumerate(records)
            for pair in row["pairs"]
        ],
        columns=["row", "category", "cluster", "better", "worse"],
    )
    if pairs.empty:
        raise UserError(f"{table.folder} has no pair to judge in {name!r}: all its answers tie")
    columns: dict[str, list[list[float]]] = {}
    for condition, found in scores.items():
        answers = _answers(table, name, records, condition, found)
        if answers is not None:
            columns[condition] = answers
    if MODEL not in columns:
        raise UserError(f"{table.folder / SCORES} has no score of {name!r} under {MODEL!r}")
    for rule, score in RULES.items():
        columns[rule] = [score(row) for row in records]
    indices = list(zip(pairs["row"], pairs["better"], pairs["worse"], strict=True))
    margins = {
        column: [values[r][better] - values[r][worse] for r, better, worse in indices]
        for column, values in columns.items()
    }
    # A condition may touch records without a pair only.
    frame = pd.DataFrame(margins, dtype=float).dropna(axis="columns", how="all")
    return PairTable(records, pairs, frame)


def _cluster(row: Mapping[str, Any]) -> str:
    return f"group {row['group']}" if row["group"] else f"record {row['record']}"


def _answers(
    table: ScoreTable,
    name: str,
    records: list[dict[str, Any]],
    condition: str,
    found: Mapping[tuple[str, int], float],
) -> list[list[float]] | None:
    """Scores per record and answer, NaN for records outside the condition, None if all are."""
    scores: list[list[float]] = []
    missing: list[tuple[str, int]] = []
    for row in records:
        keys = [(row["record"], answer) for answer in range(len(row["answers"]))]
        absent = [key for key in keys if key not in found]
        outside = condition in NEEDS_DONOR or (condition in NEEDS_IMAGES and not row.get("media"))
        if not (outside and len(absent) == len(keys)):
            missing += absent
        scores.append([found.get(key, float("nan")) for key in keys])
    total = sum(len(values) for values in scores)
    if np.isnan(np.concatenate(scores)).all():
        return None
    if missing:
        record, answer = missing[0]
        raise UserError(
            f"{table.folder / SCORES} lacks {len(missing)} of {total} answers of {name!r} under "
            f"{condition!r}, first answer {answer} of record {record}; run the evaluation again, "
            "it continues where it stopped"
        )
    return scores


def set_metrics(table: PairTable) -> dict[str, Any]:
    """The metrics of one set, as the module describes."""
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
        "controls": controls,
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
