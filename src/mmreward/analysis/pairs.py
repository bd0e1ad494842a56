"""From a score table to pairs with margins: what every number about accuracy is computed from.

A set is a benchmark's test split, or `<benchmark>/<split>` for another one. The validation split of
a set that is there itself is no set to judge a model by, because training chose the weights by it;
it is what temperatures are fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmreward.analysis.rules import RULES
from mmreward.errors import UserError
from mmreward.scoring.table import SCORES, ScoreTable

MODEL = "intact"
BLIND = "blind_image"
NORMALISED = "normalised"
UNCATEGORISED = "uncategorised"

_VALIDATION = "/validation"

# Conditions under which a record may lack scores: they need an image, or a donor of one.
NEEDS_IMAGES = {"blind_image", "text_only"}
NEEDS_DONOR = {"swapped_image"}


@dataclass(frozen=True)
class PairTable:
    """The pairs of one set.

    pairs:   row (index into `records`), category, cluster, better, worse; one line per pair
    margins: score of the better answer minus the worse, one column per condition and rule; NaN
             where the record is not part of the condition
    scores:  {condition or rule: per record, the score of every answer}
    rows:    what became of the set's rows (`sets` of the score table)
    """

    records: list[dict[str, Any]]
    pairs: pd.DataFrame
    margins: pd.DataFrame
    name: str
    scores: Mapping[str, list[list[float]]]
    rows: Mapping[str, Any]


def pair_tables(table: ScoreTable) -> dict[str, PairTable]:
    """The sets of a score table by name.

    Raises UserError if a set has no pair, the model's own scores are missing, or a condition
    was scored for some answers only.
    """
    sets: dict[str, list[dict[str, Any]]] = {}
    for row in table.records:
        name, split = row["benchmark"], row["split"]
        sets.setdefault(name if split == "test" else f"{name}/{split}", []).append(row)
    return {name: _pair_table(table, name, rows) for name, rows in sets.items()}


def judged_sets(sets: Mapping[str, PairTable]) -> dict[str, PairTable]:
    """The sets a model is judged by."""
    return {
        name: table
        for name, table in sets.items()
        if not (name.endswith(_VALIDATION) and name.removesuffix(_VALIDATION) in sets)
    }


def validation_of(sets: Mapping[str, PairTable], name: str) -> PairTable | None:
    """The pairs that the temperature for set `name` is fitted on: its own validation split, else
    the only one of the model (the temperature is the model's, not the set's), else None."""
    if name + _VALIDATION in sets:
        return sets[name + _VALIDATION]
    others = [table for other, table in sets.items() if other not in judged_sets(sets)]
    return others[0] if len(others) == 1 else None


def _conditions(table: ScoreTable, name: str) -> list[str]:
    """Those that the set was scored under: some of its records may belong to another one, too."""
    noted = table.sets.get(name, {}).get("conditions")
    if name.removesuffix(_VALIDATION) in table.sets and name not in table.sets:
        noted = [MODEL]
    return [c for c in table.conditions if noted is None or c in noted]


def _pair_table(table: ScoreTable, name: str, records: list[dict[str, Any]]) -> PairTable:
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
    for condition in _conditions(table, name):
        answers = _answers(table, name, records, condition)
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
    for column in columns:  # of a judge: differences of its scores say less than its verdicts
        for place, (r, better, worse) in enumerate(indices):
            of_record = table.outcomes.get((records[r]["record"], column))
            if of_record is not None:
                margins[column][place] = 2 * of_record[better, worse] - 1
    # A condition may touch records without a pair only.
    frame = pd.DataFrame(margins, dtype=float).dropna(axis="columns", how="all")
    scored = {str(column): columns[str(column)] for column in frame}
    return PairTable(records, pairs, frame, name, scored, table.sets.get(name, {}))


def _cluster(row: Mapping[str, Any]) -> str:
    return f"group {row['group']}" if row["group"] else f"record {row['record']}"


def _answers(
    table: ScoreTable,
    name: str,
    records: list[dict[str, Any]],
    condition: str,
) -> list[list[float]] | None:
    """Scores per record and answer, NaN for records outside the condition, None if all are."""
    found = table.scores[condition]
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
