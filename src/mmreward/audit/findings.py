"""What an audit found, as data; mmreward.report.wording has the words.

found: the content of audit.json
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmreward.analysis.findings import Finding, best_rule, differs, leans

# A surface that decides so much of the pairs is called a problem.
TOO_MUCH = 0.6
# Kinds of overlap that give something away; the same words about another picture do not.
LEAKS = ("same", "near", "same_question", "same_images")
REPEATS = ("duplicates", "contradictions", "same_answers")


def summary(found: Mapping[str, Any]) -> Finding:
    """The audit of what is trained on in one line, for the screen."""
    name, split = next((n, v) for n, v in found["splits"].items() if v["n_pairs"])
    rule = best_rule(split["rules"])
    leaks = {
        sets: values["same"] + values["near"]
        for sets, values in found["overlap"].items()
        if values["same"] + values["near"]
    }
    more = {
        "split": name,
        "rule": rule,
        "accuracy": split["rules"][rule]["accuracy"],
        "repeats": {kind: split[kind] for kind in REPEATS if split[kind]},
        "leaks": leaks,
        "left_out": _n_left_out(found),
    }
    return Finding("audit", {**split, **more})


def findings(found: Mapping[str, Any]) -> list[Finding]:
    """What is in the data, what its surface decides."""
    sizes = {name: values["n_records"] for name, values in found["splits"].items()}
    told = [Finding("records", {"splits": sizes})]
    for name, values in found["splits"].items():
        if values["n_pairs"]:
            rule = best_rule(values["rules"])
            more = {"split": name, "rule": rule, "control": values["rules"][rule]}
            told.append(Finding("surface", {**values, **more}))
    return told


def warnings(found: Mapping[str, Any]) -> list[Finding]:
    """What should be put right, or known, before anyone trains on the data."""
    told = []
    if found["left_out"]:
        told.append(Finding("rows_left_out", {"n": _n_left_out(found)}))
    first = {n: v["rules"]["first"] for n, v in found["splits"].items() if v["n_pairs"]}
    leaning = {name: row for name, row in first.items() if leans(row)}
    if leaning:
        told.append(Finding("first_is_better", {"splits": leaning}))
    return told + content_warnings(found)


def content_warnings(found: Mapping[str, Any]) -> list[Finding]:
    """The warnings that concern any model: what it may learn instead, or has seen already."""
    told = [one for name, v in found["splits"].items() for one in _split_warnings(name, v)]
    for name, values in found["overlap"].items():
        left, right = name.split(" -> ")
        shared = {kind: values[kind] for kind in LEAKS if values[kind]}
        if shared:
            numbers = {"left": left, "right": right, "n": values["n"], "kinds": shared}
            told.append(Finding("records_shared", numbers))
    return told


def _split_warnings(name: str, values: Mapping[str, Any]) -> Iterator[Finding]:
    if not values["n_pairs"]:
        return
    rule = best_rule(values["rules"])
    surfaces = [{**values["rules"][rule], "rule": rule}]
    if values["classifier"]:
        surfaces.append({**values["classifier"], "rule": None})
    most = max(surfaces, key=lambda row: row["accuracy"])
    if most["accuracy"] > TOO_MUCH and most["accuracy_ci95"][0] > 0.5:
        yield Finding("surface_decides", {"split": name, **most})
    for kind in ("contradictions", "duplicates", "same_answers"):
        if values[kind]:
            numbers = {"split": name, "n": values[kind], "n_pairs": values["n_pairs"]}
            yield Finding(kind, numbers)
    if values["images"] and values["images"]["unreadable"]:
        yield Finding("images_unreadable", {"split": name, "n": values["images"]["unreadable"]})
    for template in values["templates"]:
        interval = template["wins_ci95"]
        if interval and differs([bound - 0.5 for bound in interval]):
            yield Finding("answer_tells", {"split": name, **template})


def _n_left_out(found: Mapping[str, Any]) -> int:
    return sum(count for count, _ in found["left_out"].values())
