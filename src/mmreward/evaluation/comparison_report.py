"""report.md, report.html and the table on the screen of a comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreward.evaluation import comparison_plots as plots
from mmreward.evaluation.comparison import CommonSet
from mmreward.evaluation.comparison_wording import findings, p_value, rules, run_warnings
from mmreward.evaluation.gallery import gallery
from mmreward.evaluation.html import write_html
from mmreward.evaluation.pairs import MODEL
from mmreward.evaluation.plots import reliability_figure
from mmreward.evaluation.report import INTERVALS, REPORT, save_figure
from mmreward.evaluation.report_tables import calibration_table, length_table, markdown_table
from mmreward.evaluation.wording import (
    differs,
    label,
    percent,
    points,
    points_span,
    quantity,
    span,
)

if TYPE_CHECKING:
    from rich.table import Table

COMPARISON = "comparison.json"


def write_comparison(
    folder: Path, comparison: Mapping[str, Any], sets: Mapping[str, CommonSet]
) -> Path:
    """Writes comparison.json, report.md with its figures and report.html; returns the last."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(comparison, indent=2, allow_nan=False)
    (folder / COMPARISON).write_text(text + "\n", encoding="utf-8")
    lines = ["# Comparison", ""]
    lines += markdown_table(
        ("run", "folder"),
        [(run["name"], f"`{run['folder']}`") for run in comparison["runs"]],
        left=2,
    )
    for name, common in sets.items():
        lines += _section(folder, name, comparison["benchmarks"][name], common)
    lines += _cost(comparison["runs"])
    path = folder / REPORT
    # Lone surrogates in answers have no UTF-8 form.
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    return write_html(path)


def comparison_tables(comparison: Mapping[str, Any]) -> Iterator[Table]:
    """What the screen shows, a table per set: accuracy and difference from the first run."""
    from rich.table import Table

    for name, values in comparison["benchmarks"].items():
        title = f"{name}: {values['n']} common pairs, ties ½, 95 % intervals"
        table = Table(title=title, title_justify="left")
        table.add_column("run", overflow="fold")
        for heading in ("accuracy, %", "points more", "p", "Holm"):
            table.add_column(heading, justify="right", no_wrap=True)
        for run, row in values["runs"].items():
            metrics = row["metrics"]
            low, high = (100 * bound for bound in metrics["accuracy_ci95"])
            cells = [f"{100 * metrics['accuracy']:.1f} [{low:.1f} to {high:.1f}]"]
            if row["difference"]:
                half = row["difference"]["half"]
                cells.append(f"{points(half['difference'])} [{points_span(half['ci95'])}]")
                cells += [p_value(half["p"]), p_value(half["p_holm"])]
            table.add_row(run, *cells)
        yield table


def _section(
    folder: Path, name: str, comparison: Mapping[str, Any], common: CommonSet
) -> Iterator[str]:
    runs = comparison["runs"]
    yield from (f"## {name}", "", *[f"- {sentence}" for sentence in findings(comparison)], "")
    for run, warnings in run_warnings(comparison).items():
        yield from (f"> **{run}.** " + " ".join(warnings), "")

    figure = plots.accuracies_figure(name, comparison)
    yield from ("### Accuracy", "", *_accuracies(comparison))
    yield from (save_figure(folder, f"{name} accuracies", figure), "")

    figure = plots.differences_figure(name, comparison)
    yield from (f"### Against {next(iter(runs))}", "", *_differences(runs))
    yield from (save_figure(folder, f"{name} differences", figure), "")

    if next(iter(runs.values()))["metrics"]["categories"]:
        figure = plots.categories_figure(name, comparison)
        yield from ("### Categories", "", *_categories(runs))
        yield from (save_figure(folder, f"{name} categories", figure), "")
    if comparison["variants"]:
        yield from ("### Over seeds", "", *_variants(comparison["variants"]))
    if any("image_gain" in row["metrics"] for row in runs.values()):
        yield from ("### What the images contribute", "", *_image_gains(runs))

    calibrations = {run: row["metrics"]["calibration"] for run, row in runs.items()}
    lengths = {run: row["metrics"]["length"] for run, row in runs.items()}
    figure = reliability_figure(name, calibrations)
    yield from ("### Calibration", "", *calibration_table(calibrations))
    yield from (save_figure(folder, f"{name} reliability", figure), "")
    yield from ("### Length", "", *length_table(lengths))

    margins = {run: table.margins[MODEL].to_numpy() for run, table in common.tables.items()}
    figure = plots.margins_figure(name, margins)
    yield from ("### Margins", "", save_figure(folder, f"{name} margins", figure), "")
    examples = list(gallery(folder, common))
    if examples:
        yield from ("### Where they disagree", "", *examples)


def _accuracies(comparison: Mapping[str, Any]) -> Iterator[str]:
    headings = ["run", "accuracy", "strict", "ties", "macro"]
    partial = any(comparison["left_out"].values())
    if partial:
        headings.append("on all pairs of the run")
    rows = []
    for run, row in comparison["runs"].items():
        metrics, macro, own = row["metrics"], row["macro"], row["own"]
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


def _differences(runs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
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
        "Differences are paired, their intervals bootstrapped over groups. p is two-sided; Holm's "
        f"correction is for {len(agreed)} run{'s' if len(agreed) > 1 else ''} against the first. "
        "*Pairs needed* would show a difference of this size at the 5 % level with 80 % power. "
        f"Both right or both wrong, with the first run: {', '.join(agreed)}; kappa 0 is what two "
        "unrelated models of these accuracies would have."
    )
    yield ""


def _categories(runs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    first = next(iter(runs.values()))["metrics"]["categories"]
    rows = []
    for category, values in first.items():
        found = [row["metrics"]["categories"][category] for row in runs.values()]
        cells = [f"{percent(v['accuracy'])} [{span(v['accuracy_ci95'])}]" for v in found]
        rows.append((category, str(values["n"]), *cells))
    yield from markdown_table(("category", "n", *runs), rows)


def _variants(variants: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    rows = []
    for row in variants.values():
        difference = row["difference"] or {}
        several = "accuracy" in row
        rows.append((
            ", ".join(row["runs"]),
            percent(row["accuracy"]) if several else "",
            span(row["over_pairs_ci95"]) if several else "",
            span(row["over_seeds_ci95"]) if several else "",
            f"{100 * row['sd']:.1f}" if several else "",
            f"{100 * row['noise']:.1f}" if several else "",
            points(difference["difference"]) if difference else "",
            points_span(difference["over_pairs_ci95"]) if difference else "",
            points_span(difference["over_seeds_ci95"]) if difference else "",
        ))  # fmt: skip
    yield from markdown_table(
        ("seeds of one configuration", "mean", "over pairs", "over seeds", "sd of seeds",
         "by chance", "minus the first", "over pairs", "over seeds"), rows
    )  # fmt: skip
    yield (
        "95 % intervals, two kinds: *over pairs*, if other pairs of the same kind had been asked "
        "with these seeds; *over seeds*, if other seeds had been asked these pairs. *By chance* is "
        "the deviation (points) that seeds of equal skill would show, because each errs on other "
        "pairs."
    )
    yield ""


def _image_gains(runs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
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


def _cost(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = list(dict.fromkeys(name for run in runs for name in run["training"]))
    if not names:
        return
    rows = []
    for run in runs:
        values = [run["training"].get(name) for name in names]
        rows.append((run["name"], *map(quantity, values)))
    yield from ("## Cost of training", "")
    yield from markdown_table(("run", *(name.replace("_", " ") for name in names)), rows)
