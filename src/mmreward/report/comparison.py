"""report.md, report.html and the table on the screen of a comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreward.analysis.comparison import CommonSet
from mmreward.analysis.pairs import MODEL
from mmreward.report import comparison_figures as plots
from mmreward.report import variants_wording
from mmreward.report.comparison_tables import (
    accuracy_table,
    category_table,
    condition_table,
    difference_table,
    image_gain_table,
    seed_table,
)
from mmreward.report.comparison_wording import findings, left_out, p_value, run_warnings
from mmreward.report.figures import reliability_figure
from mmreward.report.gallery import gallery
from mmreward.report.html import write_html
from mmreward.report.markdown import REPORT, markdown_table, save_figure
from mmreward.report.official import official_lines
from mmreward.report.tables import calibration_table, length_table
from mmreward.report.wording import points, points_span, quantity

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
    if sentences := variants_wording.remarks(comparison):
        lines += [*[f"- {sentence}" for sentence in sentences], ""]
    for name, common in sets.items():
        lines += _section(folder, name, comparison["benchmarks"][name], common)
    lines += _cost(comparison["runs"])
    path = folder / REPORT
    # Lone surrogates in answers have no UTF-8 form.
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    return write_html(path)


def comparison_tables(comparison: Mapping[str, Any]) -> Iterator[Table]:
    """What the screen shows, a table per set: accuracy, difference from the first run with p after
    Holm's correction, and what was left out."""
    from rich.table import Table

    for name, values in comparison["benchmarks"].items():
        title = f"{name}: {values['n']} common pairs, ties ½, 95 % intervals"
        table = Table(title=title, title_justify="left")
        table.add_column("run", overflow="fold")
        for heading in ("accuracy, %", "points more", "p (Holm)"):
            table.add_column(heading, justify="right", no_wrap=True)
        for run, row in values["runs"].items():
            metrics = row["metrics"]
            low, high = (100 * bound for bound in metrics["accuracy_ci95"])
            cells = [f"{100 * metrics['accuracy']:.1f} [{low:.1f} to {high:.1f}]"]
            if row["difference"]:
                half = row["difference"]["half"]
                cells.append(f"{points(half['difference'])} [{points_span(half['ci95'])}]")
                cells.append(p_value(half["p_holm"]))
            table.add_row(run, *cells)
        left = left_out(values)
        if left:
            table.caption, table.caption_justify = left, "left"
        yield table


def _section(
    folder: Path, name: str, comparison: Mapping[str, Any], common: CommonSet
) -> Iterator[str]:
    runs = comparison["runs"]
    yield from (f"## {name}", "", *[f"- {sentence}" for sentence in findings(comparison)], "")
    for run, warnings in run_warnings(comparison).items():
        yield from (f"> **{run}.** " + " ".join(warnings), "")

    figure = plots.accuracies_figure(name, comparison)
    yield from ("### Accuracy", "", *accuracy_table(comparison))
    yield from (save_figure(folder, f"{name} accuracies", figure), "")

    yield from official_lines(name, {run: row["metrics"] for run, row in runs.items()})
    figure = plots.differences_figure(name, comparison)
    yield from (f"### Against {next(iter(runs))}", "", *difference_table(runs))
    yield from (save_figure(folder, f"{name} differences", figure), "")

    if next(iter(runs.values()))["metrics"]["categories"]:
        figure = plots.categories_figure(name, comparison)
        yield from ("### Categories", "", *category_table(runs))
        yield from (save_figure(folder, f"{name} categories", figure), "")
    if any(row["seeds"] > 1 for row in comparison["variants"].values()):
        yield from ("### Over seeds", "", *seed_table(comparison["variants"]))
    if any("image_gain" in row["metrics"] for row in runs.values()):
        yield from ("### What the images contribute", "", *image_gain_table(runs))
    yield from condition_table(runs)

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
