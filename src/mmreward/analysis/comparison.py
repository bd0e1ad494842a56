"""Several runs on the same pairs: from their tables to the numbers of comparison.json.

runs               name, folder and training of each
jobs_left_out      a sentence for each job of a sweep that left no run
code               {commit: the runs that were trained with it}, where that is known
benchmarks         {set: the numbers below}

Per set that at least two runs were scored on, over the pairs that all of them hold:

n, n_records, n_groups, interval    as in metrics.json
left_out           {run: its pairs that another run lacks}
missing            runs that were not scored on this set
reference          of the benchmark, as in metrics.json
runs               {run: the numbers below}, in the order given; the first one is the reference
  metrics          everything else that metrics.json has, over the common pairs
  own              n, accuracy, accuracy_ci95, strict over all pairs of the run
  strict_ci95      of the accuracy that counts equal scores as wrong
  difference       this run minus the first, see mmreward.analysis.differences; null for the
                   first itself
variants           runs that differ in the seed alone, see mmreward.analysis.variants
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmreward.analysis.differences import adjust, difference
from mmreward.analysis.metrics import accuracy, correctness, set_metrics
from mmreward.analysis.official import Reference, References, nothing_known
from mmreward.analysis.pairs import MODEL, PairTable, judged_sets, validation_of
from mmreward.analysis.runs import Run
from mmreward.analysis.variants import variants
from mmreward.errors import UserError

Key = tuple[Hashable, ...]


@dataclass(frozen=True)
class CommonSet:
    """One set over the pairs that every run holds, in one order.

    tables: {run: its pairs and margins}; same `pairs` and `records` in all
    own:    {run: all its pairs}
    validation: {run: the pairs its temperature is fitted on, if there are any}
    """

    name: str
    tables: Mapping[str, PairTable]
    own: Mapping[str, PairTable]
    validation: Mapping[str, PairTable]


def common_sets(runs: Sequence[Run]) -> dict[str, CommonSet]:
    """The sets that at least two runs are judged by, over the pairs that all of these hold.

    Raises UserError if there is none, if the runs share no pair of a set, or describe one
    differently.
    """
    judged = {run.name: judged_sets(run.sets) for run in runs}
    found = {}
    for name in dict.fromkeys(name for sets in judged.values() for name in sets):
        own = {run: sets[name] for run, sets in judged.items() if name in sets}
        if len(own) < 2:
            continue
        validation = {
            run.name: fitted_on
            for run in runs
            if (fitted_on := validation_of(run.sets, name)) is not None
        }
        found[name] = CommonSet(name, _common(name, own), own, validation)
    if not found:
        held = "; ".join(f"{run} has {', '.join(sets)}" for run, sets in judged.items())
        raise UserError(f"no two of the runs were scored on the same set: {held}")
    return found


def compare(
    runs: Sequence[Run],
    sets: Mapping[str, CommonSet],
    jobs_left_out: Sequence[str] = (),
    code: Mapping[str, Sequence[str]] | None = None,
    references: References = nothing_known,
) -> dict[str, Any]:
    """The content of comparison.json, as the module describes; `references` as in `evaluate`."""
    return {
        "runs": [
            {"name": run.name, "folder": str(run.folder), "training": dict(run.training)}
            for run in runs
        ],
        "jobs_left_out": list(jobs_left_out),
        "code": {state: list(names) for state, names in (code or {}).items()},
        "benchmarks": {
            name: _compare_set(runs, common, references(name)) for name, common in sets.items()
        },
    }


# -- the pairs that all hold ---------------------------------------------------------------


def _common(name: str, own: Mapping[str, PairTable]) -> dict[str, PairTable]:
    places = {run: _places(table) for run, table in own.items()}
    (first, reference), *others = places.items()
    for run, found in others:
        _same_labels(name, (first, reference), (run, found))
    keys = [key for key in reference if all(key in found for _, found in others)]
    if not keys:
        sizes = ", ".join(f"{run} has {len(found)}" for run, found in places.items())
        raise UserError(
            f"the runs share no pair of {name!r} ({sizes}); were they scored on the same data?"
        )
    tables = {
        run: _restrict(own[run], [found[key] for key in keys]) for run, found in places.items()
    }
    for run, _ in others:
        _same_description(name, (first, tables[first]), (run, tables[run]))
    return tables


def _places(table: PairTable) -> dict[Key, int]:
    """Where each pair stands, by record, its occurrence (a set may hold one twice) and answers."""
    seen: Counter[str] = Counter()
    records = []
    for row in table.records:
        records.append((row["record"], seen[row["record"]]))
        seen[row["record"]] += 1
    pairs = zip(table.pairs["row"], table.pairs["better"], table.pairs["worse"], strict=True)
    return {(*records[row], better, worse): i for i, (row, better, worse) in enumerate(pairs)}


def _restrict(table: PairTable, places: Sequence[int]) -> PairTable:
    """The pairs at `places`, in that order, with their records only."""
    pairs = table.pairs.iloc[places].reset_index(drop=True)
    rows = list(dict.fromkeys(pairs["row"]))
    pairs["row"] = pairs["row"].map({row: i for i, row in enumerate(rows)})
    margins = table.margins.iloc[places].reset_index(drop=True)
    margins = margins.dropna(axis=1, how="all")
    scores = {str(name): [table.scores[str(name)][row] for row in rows] for name in margins}
    records = [table.records[row] for row in rows]
    return PairTable(records, pairs, margins, table.name, scores, table.rows)


def _same_labels(
    name: str, first: tuple[str, Mapping[Key, int]], other: tuple[str, Mapping[Key, int]]
) -> None:
    for record, occurrence, better, worse in first[1]:
        if (record, occurrence, worse, better) in other[1]:
            raise UserError(
                f"{first[0]} and {other[0]} disagree on which answer of record {record} of "
                f"{name!r} is better ({better} or {worse}); compare tables of the same data"
            )


def _same_description(
    name: str, first: tuple[str, PairTable], other: tuple[str, PairTable]
) -> None:
    for column in ("category", "cluster"):
        differ = np.flatnonzero(first[1].pairs[column] != other[1].pairs[column])
        if len(differ):
            a, b = (side[1].pairs[column].iloc[differ[0]] for side in (first, other))
            record = first[1].records[first[1].pairs["row"].iloc[differ[0]]]["record"]
            what = "category" if column == "category" else "group"
            raise UserError(
                f"{first[0]} and {other[0]} file {len(differ)} of {len(first[1].pairs)} pairs of "
                f"{name!r} under another {what}, first record {record} ({a!r} and {b!r}); give "
                f"both records.jsonl the same {what} names"
            )


# -- the numbers ---------------------------------------------------------------------------


def _compare_set(runs: Sequence[Run], common: CommonSet, reference: Reference) -> dict[str, Any]:
    rows = {
        name: _run_numbers(table, common.own[name], common.validation.get(name), reference)
        for name, table in common.tables.items()
    }
    first = next(iter(common.tables))
    for name, table in common.tables.items():
        rows[name]["difference"] = (
            None if name == first else difference(common.tables[first], table)
        )
    adjust([row["difference"] for row in rows.values() if row["difference"]])
    metrics = rows[first]["metrics"]
    return {
        **{key: metrics[key] for key in ("n", "n_records", "n_groups", "interval")},
        "left_out": {name: len(common.own[name].pairs) - metrics["n"] for name in common.tables},
        "missing": [run.name for run in runs if run.name not in common.tables],
        "reference": reference.told(),
        "runs": rows,
        "variants": variants(runs, common.tables),
    }


def _run_numbers(
    table: PairTable, own: PairTable, validation: PairTable | None, reference: Reference
) -> dict[str, Any]:
    margins, clusters = table.margins[MODEL].to_numpy(), table.pairs["cluster"].to_numpy()
    own_margins = own.margins[MODEL].to_numpy()
    return {
        "metrics": set_metrics(table, validation, reference),
        "own": {
            **accuracy(correctness(own_margins), own.pairs["cluster"].to_numpy()),
            "strict": float((own_margins > 0).mean()),
        },
        "strict_ci95": accuracy((margins > 0).astype(float), clusters)["accuracy_ci95"],
    }
