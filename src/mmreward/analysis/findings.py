"""What numbers show, as data: kinds of findings and the numbers that belong to them.

Whoever decides something asks for the kind. mmreward.report.wording puts a finding into words, and
nothing reads those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmreward.analysis.pairs import BLIND, NORMALISED
from mmreward.analysis.rules import TEXT_RULES

Numbers = Mapping[str, Any]

# Groups below which intervals that treat groups as the units are known to be too narrow.
FEW_GROUPS = 20
# Runs of a comparison that get a finding of their own; the tables hold all.
TOLD = 8
# Warnings of a run that a comparison tells once for all its runs.
TOLD_ONCE = ("rules_do_better", "order_tells")


@dataclass(frozen=True)
class Finding:
    """kind: one of those that mmreward.report.wording has words for; numbers: as in the JSON."""

    kind: str
    numbers: Numbers = field(default_factory=dict)


def above_zero(interval: Sequence[float] | None) -> bool:
    """Whether an interval shows that a difference is positive."""
    return interval is not None and interval[0] > 0


def differs(interval: Sequence[float] | None) -> bool:
    """Whether an interval shows a difference in either direction."""
    return interval is not None and not interval[0] <= 0 <= interval[1]


def leans(row: Numbers) -> bool:
    """Whether an accuracy is shown to differ from one half."""
    return differs([bound - 0.5 for bound in row["accuracy_ci95"]])


def best_rule(rules: Numbers) -> str:
    """The rule with the highest accuracy of those that the texts alone suffice for."""
    return max(TEXT_RULES, key=lambda name: rules[name]["accuracy"])


# -- one run, one set; metrics: its part of metrics.json -------------------------------------


def findings(metrics: Numbers) -> list[Finding]:
    """The model, by the benchmark's own script too if it has one, its image, what needs no model
    or training, and, where it was measured, what the layout of the answers is worth."""
    controls = metrics["controls"]
    found = [Finding("accuracy", metrics)]
    headlines = [number for number in metrics["official"].values() if number["headline"]]
    if headlines:
        found.append(Finding("official", {"headlines": headlines}))
    found.append(image_finding(metrics))
    rule = best_rule(controls)
    told = {"rule": rule, "control": controls[rule], "untrained": controls.get("untrained")}
    found.append(Finding("best_rule", told))
    if NORMALISED in controls:
        layout = controls[NORMALISED]
        kind = "layout_unused"
        if layout["n_changed"] == 0:
            kind = "layout_even"
        elif differs(layout["difference_ci95"]):
            kind = "layout_used" if layout["difference"] > 0 else "layout_misleads"
        found.append(Finding(kind, layout))
    return found


def image_finding(metrics: Numbers) -> Finding:
    """What the images of a set are worth to the model, and whether that is shown."""
    if metrics["rows"].get("images") == "drop":
        return Finding("images_taken")
    if not metrics["n_with_images"]:
        return Finding("no_images")
    if "image_gain" not in metrics:
        return Finding("images_not_measured")
    gain = metrics["image_gain"]
    kind = "images_used" if above_zero(gain["ci95"]) else "images_unused"
    return Finding(kind, {"gain": gain, "blind": metrics["controls"][BLIND]})


def warnings(metrics: Numbers) -> list[Finding]:
    """What forbids to read the accuracy as it stands; empty if nothing does."""
    return list(_warnings(metrics, metrics["controls"]))


def _warnings(metrics: Numbers, controls: Numbers) -> Iterator[Finding]:
    rows = metrics["rows"]
    if rows.get("unusable"):
        reasons: dict[str, int] = {}
        for kind in rows["unusable"]:
            reasons[kind["reason"]] = reasons.get(kind["reason"], 0) + kind["n"]
        lost = {"n": sum(reasons.values()), "rows": rows["rows"], "reasons": reasons}
        yield Finding("rows_unusable", lost)
    if rows.get("images") == "drop":
        yield Finding("scored_without_images")
    low, high = metrics["accuracy_ci95"]
    if low <= 0.5 <= high:
        yield Finding("coin", metrics)
    elif high < 0.5:
        yield Finding("worse_than_coin")
    if "image_gain" in metrics:
        gain = metrics["image_gain"]
        if not differs(gain["ci95"]):
            yield Finding("image_gain_unshown", gain)
        elif gain["difference"] < 0:
            yield Finding("better_without_images")
    known = {name: controls[name] for name in (*TEXT_RULES, "random")}
    better = {name: row for name, row in known.items() if row["difference"] <= 0}
    if better:
        yield Finding("rules_do_better", {"better": better, "metrics": metrics})
    if leans(controls["first"]):
        yield Finding("order_tells", controls["first"])
    untrained = controls.get("untrained")
    if untrained and not above_zero(untrained["difference_ci95"]):
        yield Finding("training_unshown", untrained)
    if metrics["n_ties"] > metrics["n"] / 10:
        yield Finding("ties", metrics)
    if metrics["n_groups"] < FEW_GROUPS:
        yield Finding("few_groups", metrics)


# -- several runs, one set; comparison: its part of comparison.json --------------------------


def comparison_findings(comparison: Numbers) -> list[Finding]:
    """Which pairs were compared, what each run gained on the first, what needs no model."""
    runs = comparison["runs"]
    first, *others = runs
    found = [Finding("compared", comparison)]
    for run in others[:TOLD]:
        found.append(Finding("difference", {"first": first, "run": run, **runs[run]["difference"]}))
    if len(others) > TOLD:
        found.append(Finding("more_runs", {"n": len(others) - TOLD}))
    rules = next(iter(runs.values()))["metrics"]["controls"]
    rule = best_rule(rules)
    best = rules[rule]["accuracy"]
    beaten = [run for run, row in runs.items() if row["metrics"]["accuracy"] <= best]
    told = {"rule": rule, "control": rules[rule], "beaten": beaten, "n_runs": len(runs)}
    found.append(Finding("best_rule_of_runs", told))
    metrics = [row["metrics"] for row in runs.values()]
    if metrics[0]["n_with_images"] and not any("image_gain" in m for m in metrics):
        found.append(Finding("images_measured_by_none"))
    if leans(rules["first"]):
        found.append(Finding("order_tells_all", rules["first"]))
    return found


def run_warnings(comparison: Numbers) -> dict[str, list[Finding]]:
    """The warnings of each run but those that `comparison_findings` has told of all; runs without
    any left out."""
    found = {}
    for run, row in comparison["runs"].items():
        own = [one for one in warnings(row["metrics"]) if one.kind not in TOLD_ONCE]
        if own:
            found[run] = own
    return found


# -- variants: runs that differ in the seed alone --------------------------------------------


def differs_here(row: Numbers) -> bool:
    """Whether other pairs would show a variant's difference too, with these seeds; by Holm."""
    return row["difference"] is not None and row["difference"]["p_holm"] <= 0.05


def differs_in_general(row: Numbers) -> bool:
    """Whether a variant is shown to differ from the first: on other pairs and, if seeds can tell,
    with other seeds."""
    if not differs_here(row):
        return False
    over_seeds = row["difference"]["over_seeds_ci95"]
    return over_seeds is None or differs(over_seeds)


def variants_finding(name: str, variants: Numbers) -> Finding:
    """What a comparison of variants found on set `name`."""
    first, *others = variants
    shown = [other for other in others if differs_in_general(variants[other])]
    here = [o for o in others if differs_here(variants[o]) and o not in shown]
    seeds = [row["seeds"] for row in variants.values()]
    told = {
        "set": name, "first": first, "others": others, "shown": shown, "here": here,
        "least": min(seeds), "most": max(seeds),
        "better": bool(shown) and variants[shown[0]]["difference"]["difference"] > 0,
    }  # fmt: skip
    kind = "variants"
    if len(others) < 2:
        kind = "one_variant" if others else "no_other_variant"
    return Finding(kind, told)


def remarks(comparison: Numbers) -> list[Finding]:
    """Each job that left no run, each run that is no further seed, each p of fewer seeds than a
    variant has, and code that is not the same in all runs. comparison: the whole of it."""
    found = [Finding("job_left_out", {"job": job}) for job in comparison["jobs_left_out"]]
    for values in comparison["benchmarks"].values():
        # What is true of the runs is found in every set.
        found += [one for one in _seed_remarks(values["variants"]) if one not in found]
    if len(comparison["code"]) > 1:
        found.append(Finding("several_codes", {"code": comparison["code"]}))
    return found


def _seed_remarks(variants: Numbers) -> Iterator[Finding]:
    for row in variants.values():
        for run, kept in row["repeats"].items():
            yield Finding("seed_again", {"run": run, "kept": kept})
    first = next(iter(variants), "")
    for name, row in variants.items():
        if row["seeds"] != variants[first]["seeds"]:
            told = {"first": first, "most": variants[first]["seeds"], "name": name}
            yield Finding("uneven_seeds", {**told, "seeds": row["seeds"]})
