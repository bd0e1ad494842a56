"""report.md, report.html and the table on the screen of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreward.analysis.comparison import CommonSet
from mmreward.analysis.findings import (
    Finding,
    comparison_findings,
    differs,
    remarks,
    run_warnings,
)
from mmreward.analysis.pairs import BLIND, MODEL
from mmreward.analysis.rules import RULES, TEXT_RULES
from mmreward.report import comparison_figures as plots
from mmreward.report.calibration_and_length import calibration, length
from mmreward.report.examples import gallery
from mmreward.report.figures import reliability_figure
from mmreward.report.official import official_numbers
from mmreward.report.page import REPORT, save_figure, write_html, write_json, write_page
from mmreward.report.table import Table, numbers, texts
from mmreward.report.wording import (
    INTERVALS,
    accuracy,
    bullets,
    count,
    gain,
    label,
    p_value,
    percent,
    points,
    points_span,
    quantity,
    share,
    span,
    words,
)
from mmreward.scoring.table import CONDITIONS

COMPARISON = "comparison.json"
KINDS = {"half": "ties ½", "strict": "strict", "macro": "macro, ties ½"}

Comparison = Mapping[str, Any]
Runs = Mapping[str, Mapping[str, Any]]


def write_comparison(folder: Path, comparison: Comparison, sets: Mapping[str, CommonSet]) -> Path:
    """Writes comparison.json, report.md with its figures and report.html; returns the last."""
    write_json(folder / COMPARISON, comparison)
    runs = comparison["runs"]
    named = Table(texts("run", "folder"), [(run["name"], f"`{run['folder']}`") for run in runs])
    blocks = ["# Comparison", named.markdown()]
    if told := remarks(comparison):
        blocks.append(bullets(told))
    for name, common in sets.items():
        blocks += _set(folder, name, comparison["benchmarks"][name], common)
    blocks += _cost(runs)
    return write_html(write_page(folder / REPORT, blocks))


def screen_tables(comparison: Comparison) -> Iterator[Table]:
    """What the screen shows, a table per set: accuracy, difference from the first run with p after
    Holm's correction, and what was left out."""
    columns = texts("run") + numbers("accuracy, %", "points more", "p (Holm)")
    for name, values in comparison["benchmarks"].items():
        rows = []
        for run, row in values["runs"].items():
            cells = [run, accuracy(row["metrics"]).replace(" %", "")]  # the heading has the unit
            if row["difference"]:
                half = row["difference"]["half"]
                cells += [gain(half["difference"], half["ci95"]), p_value(half["p_holm"])]
            rows.append(cells)
        title = f"{name}: {values['n']} common pairs, ties ½, 95 % intervals"
        yield Table(columns, rows, title, note=words(Finding("pairs_lost", values)))


def _set(folder: Path, name: str, comparison: Comparison, common: CommonSet) -> Iterator[str]:
    def figure(kind: str, drawn: Any) -> str:
        return save_figure(folder, f"{name} {kind}", drawn)

    runs = comparison["runs"]
    metrics = {run: row["metrics"] for run, row in runs.items()}
    yield from (f"## {name}", bullets(comparison_findings(comparison)))
    for run, found in run_warnings(comparison).items():
        yield f"> **{run}.** {' '.join(map(words, found))}"
    yield "### Accuracy"
    yield from _accuracies(comparison)
    yield figure("accuracies", plots.accuracies_figure(name, comparison))
    yield from official_numbers(metrics, comparison["reference"])
    yield f"### Against {next(iter(runs))}"
    yield from _differences(runs)
    yield figure("differences", plots.differences_figure(name, comparison))
    if next(iter(metrics.values()))["categories"]:
        yield from ("### Categories", _category_table(metrics).markdown())
        yield figure("categories", plots.categories_figure(name, comparison))
    if any(row["seeds"] > 1 for row in comparison["variants"].values()):
        yield "### Over seeds"
        yield from _seeds(comparison["variants"])
    if any("image_gain" in row for row in metrics.values()):
        yield from ("### What the images contribute", _image_gain_table(metrics).markdown())
    yield from _conditions(metrics)
    calibrations = {run: row["calibration"] for run, row in metrics.items()}
    yield from calibration(calibrations)
    yield figure("reliability", reliability_figure(name, calibrations))
    yield from length({run: row["length"] for run, row in metrics.items()})
    margins = {run: table.margins[MODEL].to_numpy() for run, table in common.tables.items()}
    yield from ("### Margins", figure("margins", plots.margins_figure(name, margins)))
    if examples := list(gallery(folder, common)):
        yield from ("### Where they disagree", *examples)


def _accuracies(comparison: Comparison) -> Iterator[str]:
    partial = any(comparison["left_out"].values())
    rows = []
    for run, row in comparison["runs"].items():
        metrics, own = row["metrics"], row["own"]
        cells = [
            run,
            accuracy(metrics),
            share(metrics["strict"], row["strict_ci95"]),
            str(metrics["n_ties"]),
            accuracy(metrics["macro"]) if metrics["macro"] else None,
        ]
        if partial:
            cells.append(f"{accuracy(own)}, strict {percent(own['strict'])}, n = {own['n']:,}")
        rows.append(cells)
    # The rules say the same of every run's common pairs.
    controls = next(iter(comparison["runs"].values()))["metrics"]["controls"]
    rows += [[f"*{label(rule)}*", accuracy(controls[rule])] for rule in (*TEXT_RULES, "first")]
    headings = ["accuracy", "strict", "ties", "macro"]
    headings += ["on all pairs of the run"] if partial else []
    yield Table(texts("run") + numbers(*headings), rows).markdown()
    yield (
        f"{comparison['n']} pairs of {comparison['n_records']} records in "
        f"{comparison['n_groups']} groups. Ties are pairs with equal scores: one half in the "
        "accuracy, wrong in *strict*. *Macro* is the mean over categories. Intervals: 95 %, "
        f"{INTERVALS[comparison['interval']]}."
    )


def _differences(runs: Runs) -> Iterator[str]:
    rows, agreed = [], []
    for run, difference in ((run, row["difference"]) for run, row in runs.items()):
        if difference is None:
            continue
        kappa = round(difference["kappa"], 2) + 0.0  # no -0.00
        agreed.append(f"{run} {percent(difference['agreement'])} (kappa {kappa:.2f})")
        for kind, called in KINDS.items():
            test = difference[kind]
            if test is None:
                continue
            strict = kind == "strict"
            needed = test.get("pairs_needed")
            rows.append([
                run,
                called,
                test.get("test", "sampled sign flip"),
                points(test["difference"]),
                points_span(test["ci95"]),
                p_value(test["p"]),
                p_value(test["p_holm"]),
                str(difference["only_this"]) if strict else None,
                str(difference["only_first"]) if strict else None,
                count(needed) if needed else None,
            ])  # fmt: skip
    columns = texts("run", "accuracy", "test") + numbers(
        "points", "95 % interval", "p", "Holm", "only it right", "only first right", "pairs needed"
    )
    yield Table(columns, rows).markdown()
    yield (
        "Differences are paired, their intervals over groups: bootstrapped, or where few groups "
        "differ by Bonett and Price; of macro by Student's t. p is two-sided; Holm's "
        f"correction is for {len(agreed)} run{'s' if len(agreed) > 1 else ''} against the first. "
        "*Pairs needed* would show a difference of this size at the 5 % level with 80 % power. "
        f"Both right or both wrong, with the first run: {', '.join(agreed)}; kappa 0 is what two "
        "unrelated models of these accuracies would have."
    )


def _category_table(metrics: Runs) -> Table:
    rows = []
    for category, values in next(iter(metrics.values()))["categories"].items():
        found = [accuracy(row["categories"][category]) for row in metrics.values()]
        rows.append([category, str(values["n"]), *found])
    return Table(texts("category") + numbers("n", *metrics), rows)


def _seeds(variants: Runs) -> Iterator[str]:
    rows = []
    for name, row in variants.items():
        cells = [name, str(row["seeds"]), percent(row["accuracy"]), span(row["over_pairs_ci95"])]
        if row["seeds"] > 1:
            deviations = (f"{100 * row[kind]:.1f}" for kind in ("sd", "noise"))
            cells += [span(row["over_seeds_ci95"]), *deviations]
        else:
            cells += [""] * 3
        if difference := row["difference"]:
            cells += [
                points(difference["difference"]),
                points_span(difference["over_pairs_ci95"]),
                points_span(difference["over_seeds_ci95"]),
                p_value(difference["p"]),
                p_value(difference["p_holm"]),
            ]
        rows.append(cells)
    columns = texts("variant") + numbers(
        "seeds", "mean", "over pairs", "over seeds", "sd of seeds", "by chance",
        "minus the first", "over pairs", "over seeds", "p", "Holm",
    )  # fmt: skip
    yield Table(columns, rows).markdown()
    yield (
        "95 % intervals, two kinds: *over pairs*, if other pairs of the same kind had been asked "
        "with these seeds; *over seeds*, if other seeds had been asked these pairs. *By chance* is "
        "the deviation (points) that seeds of equal skill would show, because each errs on other "
        "pairs. p is over pairs, two-sided, Holm's correction for the number of variants held "
        "against the first."
    )


def _image_gain_table(metrics: Runs) -> Table:
    rows = []
    for run, row in metrics.items():
        found = row.get("image_gain")
        verdict = "no use of the images is shown" if found else "not measured"
        if found and differs(found["ci95"]):
            verdict = "uses the images" if found["difference"] > 0 else "better without the images"
        cells = [gain(found["difference"], found["ci95"]), str(found["n"])] if found else []
        rows.append([run, verdict, *cells])
    return Table(texts("run", "") + numbers("points lost without images", "n"), rows)


def _conditions(metrics: Runs) -> Iterator[str]:
    """Points that every run loses under each condition but the greyed out images."""
    held = {name for row in metrics.values() for name in row["controls"]} - {*RULES, BLIND}
    names = [name for name in CONDITIONS if name in held]
    if not names:
        return
    rows = []
    for run, row in metrics.items():
        found = [row["controls"].get(name) for name in names]
        rows.append([run, *(
            f"{gain(c['difference'], c['difference_ci95'])}, n = {c['n']}" if c else None
            for c in found
        )])  # fmt: skip
    yield "Points lost under other conditions:"
    yield Table(texts("run") + numbers(*map(label, names)), rows).markdown()


def _cost(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = list(dict.fromkeys(name for run in runs for name in run["training"]))
    if names:
        rows = [[r["name"], *(quantity(r["training"].get(name)) for name in names)] for r in runs]
        columns = texts("run") + numbers(*(name.replace("_", " ") for name in names))
        yield from ("## Cost of training", Table(columns, rows).markdown())
