"""The tables of a comparison's report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmreward.analysis.pairs import BLIND
from mmreward.analysis.rules import RULES
from mmreward.report.comparison_wording import p_value, rules
from mmreward.report.markdown import markdown_table
from mmreward.report.wording import (
    INTERVALS,
    differs,
    label,
    percent,
    points,
    points_span,
    span,
)
from mmreward.scoring.table import CONDITIONS

Runs = Mapping[str, Mapping[str, Any]]


def accuracy_table(comparison: Mapping[str, Any]) -> Iterator[str]:
    headings = ["run", "accuracy", "strict", "ties", "macro"]
    partial = any(comparison["left_out"].values())
    if partial:
        headings.append("on all pairs of the run")
    rows = []
    for run, row in comparison["runs"].items():
        metrics, own = row["metrics"], row["own"]
        macro = metrics["macro"]
        cells = [
            run,
            f"{percent(metrics['accuracy'])} [{span(metrics['accuracy_ci95'])}]",
            f"{percent(metrics['strict'])} [{span(row['strict_ci95'])}]",
            str(metrics["n_ties"]),
            f"{percent(macro['accuracy'])} [{span(macro['accuracy_ci95'])}]" if macro else "",
        ]
        if partial:
            cells.append(
                f"{percent(own['accuracy'])} [{span(own['accuracy_ci95'])}], "
                f"strict {percent(own['strict'])}, n = {own['n']:,}"
            )
        rows.append(cells)
    for rule, values in rules(comparison).items():
        accuracy = f"{percent(values['accuracy'])} [{span(values['accuracy_ci95'])}]"
        rows.append([f"*{label(rule)}*", accuracy, *[""] * (len(headings) - 2)])
    yield from markdown_table(headings, rows)
    yield (
        f"{comparison['n']} pairs of {comparison['n_records']} records in "
        f"{comparison['n_groups']} groups. Ties are pairs with equal scores: one half in the "
        "accuracy, wrong in *strict*. *Macro* is the mean over categories. Intervals: 95 %, "
        f"{INTERVALS[comparison['interval']]}."
    )
    yield ""


def difference_table(runs: Runs) -> Iterator[str]:
    rows = []
    for run, row in runs.items():
        difference = row["difference"]
        if difference is None:
            continue
        for kind in ("half", "strict", "macro"):
            test = difference[kind]
            if test is None:
                continue
            counts = ("", "")
            if kind == "strict":
                counts = (str(difference["only_this"]), str(difference["only_first"]))
            needed = test.get("pairs_needed")
            rows.append((
                run,
                {"half": "ties ½", "strict": "strict", "macro": "macro, ties ½"}[kind],
                test.get("test", "sampled sign flip"),
                points(test["difference"]),
                points_span(test["ci95"]),
                p_value(test["p"]),
                p_value(test["p_holm"]),
                *counts,
                f"{needed:,}" if needed else "",
            ))  # fmt: skip
    yield from markdown_table(
        ("run", "accuracy", "test", "points", "95 % interval", "p", "Holm", "only it right",
         "only first right", "pairs needed"), rows, left=3
    )  # fmt: skip
    agreed = [
        f"{run} {percent(row['difference']['agreement'])} "
        f"(kappa {round(row['difference']['kappa'], 2) + 0.0:.2f})"
        for run, row in runs.items()
        if row["difference"]
    ]
    yield (
        "Differences are paired, their intervals over groups: bootstrapped, or where few groups "
        "differ by Bonett and Price; of macro by Student's t. p is two-sided; Holm's "
        f"correction is for {len(agreed)} run{'s' if len(agreed) > 1 else ''} against the first. "
        "*Pairs needed* would show a difference of this size at the 5 % level with 80 % power. "
        f"Both right or both wrong, with the first run: {', '.join(agreed)}; kappa 0 is what two "
        "unrelated models of these accuracies would have."
    )
    yield ""


def category_table(runs: Runs) -> Iterator[str]:
    first = next(iter(runs.values()))["metrics"]["categories"]
    rows = []
    for category, values in first.items():
        found = [row["metrics"]["categories"][category] for row in runs.values()]
        cells = [f"{percent(v['accuracy'])} [{span(v['accuracy_ci95'])}]" for v in found]
        rows.append((category, str(values["n"]), *cells))
    yield from markdown_table(("category", "n", *runs), rows)


def seed_table(variants: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    rows = []
    for name, row in variants.items():
        difference = row["difference"] or {}
        several = row["seeds"] > 1
        rows.append((
            name,
            str(row["seeds"]),
            percent(row["accuracy"]),
            span(row["over_pairs_ci95"]),
            span(row["over_seeds_ci95"]) if several else "",
            f"{100 * row['sd']:.1f}" if several else "",
            f"{100 * row['noise']:.1f}" if several else "",
            points(difference["difference"]) if difference else "",
            points_span(difference["over_pairs_ci95"]) if difference else "",
            points_span(difference["over_seeds_ci95"]) if difference else "",
            p_value(difference["p"]) if difference else "",
            p_value(difference["p_holm"]) if difference else "",
        ))  # fmt: skip
    yield from markdown_table(
        ("variant", "seeds", "mean", "over pairs", "over seeds", "sd of seeds",
         "by chance", "minus the first", "over pairs", "over seeds", "p", "Holm"), rows
    )  # fmt: skip
    yield (
        "95 % intervals, two kinds: *over pairs*, if other pairs of the same kind had been asked "
        "with these seeds; *over seeds*, if other seeds had been asked these pairs. *By chance* is "
        "the deviation (points) that seeds of equal skill would show, because each errs on other "
        "pairs. p is over pairs, two-sided, Holm's correction for the number of variants held "
        "against the first."
    )
    yield ""


def image_gain_table(runs: Runs) -> Iterator[str]:
    rows = []
    for run, row in runs.items():
        gain = row["metrics"].get("image_gain")
        if gain is None:
            rows.append((run, "not measured", "", ""))
            continue
        verdict = "no use of the images is shown"
        if differs(gain["ci95"]):
            verdict = "uses the images" if gain["difference"] > 0 else "better without the images"
        rows.append(
            (run, verdict, f"{points(gain['difference'])} [{points_span(gain['ci95'])}]",
             str(gain["n"]))
        )  # fmt: skip
    yield from markdown_table(("run", "", "points lost without images", "n"), rows, left=2)


def condition_table(runs: Runs) -> Iterator[str]:
    """Points that every run loses under each condition but the greyed out images."""
    controls = {run: row["metrics"]["controls"] for run, row in runs.items()}
    held = {name for found in controls.values() for name in found if name not in RULES}
    names = [name for name in CONDITIONS if name in held - {BLIND}]
    if not names:
        return
    rows = []
    for run, found in controls.items():
        cells = [
            f"{points(found[name]['difference'])} [{points_span(found[name]['difference_ci95'])}], "
            f"n = {found[name]['n']}"
            if name in found
            else ""
            for name in names
        ]
        rows.append((run, *cells))
    yield from ("Points lost under other conditions:", "")
    yield from markdown_table(("run", *map(label, names)), rows)
