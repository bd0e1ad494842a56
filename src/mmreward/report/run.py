"""report.md and the table on the screen: what the saved files say, in words, tables and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreward.analysis.findings import findings, image_finding, warnings
from mmreward.analysis.pairs import BLIND, MODEL, PairTable, judged_sets, pair_tables
from mmreward.report import figures as plots
from mmreward.report.calibration_and_length import calibration, length
from mmreward.report.examples import mistakes
from mmreward.report.official import official_numbers
from mmreward.report.page import REPORT, save_figure, write_html, write_overview, write_page
from mmreward.report.table import Column, Table, numbers, texts
from mmreward.report.wording import (
    INTERVALS,
    bullets,
    label,
    percent,
    points,
    points_span,
    quantity,
    span,
    words,
)
from mmreward.scoring.table import ScoreTable

if TYPE_CHECKING:
    from rich.console import Console

Metrics = Mapping[str, Any]
Curve = Sequence[tuple[int, float]]


def write_report(
    folder: Path, metrics: Metrics, table: ScoreTable, curves: Mapping[str, Curve] | None = None
) -> Path:
    """Writes report.md, report.html, the figures and their overview into `folder`.

    Returns the path of report.md.

    metrics: the content of metrics.json
    table:   the score table they were computed from, for margins and examples
    curves:  what to draw against the step, by name ("validation accuracy")
    """
    blocks = ["# Report"]
    for name, pairs in judged_sets(pair_tables(table)).items():
        blocks += _set(folder, name, metrics["benchmarks"][name], pairs)
    blocks += _training(folder, metrics["training"], curves or {})
    path = write_page(folder / REPORT, blocks)
    write_overview(folder, "\n".join(blocks))
    write_html(path)  # trackers show no image that a Markdown file names
    return path


def print_summary(console: Console, metrics: Metrics) -> None:
    """The table, and of each set what its images are worth and what to be warned of."""
    console.print(summary_table(metrics).rich())
    for name, values in metrics["benchmarks"].items():
        told = [f"Warning: {words(warning)}" for warning in warnings(values)]
        for line in (words(image_finding(values)), *told):
            console.print(f"{name}: {line}", markup=False, highlight=False, soft_wrap=True)


def summary_table(metrics: Metrics) -> Table:
    """Per set the model and the controls, each with interval and n."""
    rows: list[list[str]] = []
    firsts = []
    for name, values in metrics["benchmarks"].items():
        firsts.append(len(rows))
        model, *controls = (row[:4] for row in _accuracies(values))
        headlines = [
            [f"official {n['name']}", percent(n["value"]), span(n["ci95"]), str(n["n"])]
            for n in values["official"].values()
            if n["headline"]
        ]
        own = [model, *headlines, *controls]
        rows += [["" if number else name, *row] for number, row in enumerate(own)]
    return Table(
        (*texts("set"), Column("scored by"), *numbers("accuracy", "95 % interval", "n")),
        rows,
        title="Accuracy on pairs (ties count one half)",
        sections=firsts,
        bold=firsts,
    )


def _accuracies(metrics: Metrics) -> list[list[str]]:
    """Of the model and every control: name, accuracy, interval, n; what the model is ahead."""
    rows = []
    for key, row in {MODEL: metrics, **metrics["controls"]}.items():
        cells = [label(key), percent(row["accuracy"]), span(row["accuracy_ci95"]), str(row["n"])]
        if key != MODEL:
            cells += [points(row["difference"]), points_span(row["difference_ci95"])]
        rows.append(cells)
    return rows


def _set(folder: Path, name: str, metrics: Metrics, table: PairTable) -> Iterator[str]:
    def figure(kind: str, drawn: Any) -> str:
        return save_figure(folder, f"{name} {kind}", drawn)

    yield from (f"## {name}", bullets(findings(metrics)))
    yield from (f"> **Warning.** {words(warning)}" for warning in warnings(metrics))
    columns = numbers("accuracy", "95 % interval", "n", "model minus it, points", "95 % interval")
    yield Table(texts("scored by") + columns, _accuracies(metrics)).markdown()
    yield (
        f"{metrics['n']} pairs of {metrics['n_records']} records in {metrics['n_groups']} groups. "
        f"{metrics['n_ties']} pairs have equal scores: one half in the accuracy, "
        f"{percent(metrics['strict'])} if they count wrong. "
        f"{metrics['n_judged_equal']} pairs that the data calls equal are left out. "
        f"{metrics['n_duplicates']} records occur more than once. "
        f"Intervals: {INTERVALS[metrics['interval']]}."
    )
    yield figure("controls", plots.controls_figure(name, metrics))
    if metrics["categories"]:
        rows = [
            [category, percent(row["accuracy"]), span(row["accuracy_ci95"]), str(row["n"])]
            for category, row in metrics["categories"].items()
        ]
        yield Table(texts("category") + columns[:3], rows).markdown()
        yield figure("categories", plots.categories_figure(name, metrics))
    yield from official_numbers({"this run": metrics}, metrics["reference"])
    yield from calibration({label(MODEL): metrics["calibration"]}, heading="")
    reliability = plots.reliability_figure(name, {label(MODEL): metrics["calibration"]})
    yield figure("reliability", reliability)
    yield from length({label(MODEL): metrics["length"]}, heading="")
    low_high = metrics["mean_margin_ci95"]
    interval = f"{low_high[0]:.3g} to {low_high[1]:.3g}" if low_high else "unknown"
    margins = table.margins
    blind = margins[BLIND].dropna().to_numpy() if BLIND in margins else None
    yield from (
        "### Margins",
        f"Mean margin {metrics['mean_margin']:.3g} [{interval}] in the model's own units.",
        figure("margins", plots.margins_figure(name, margins[MODEL].to_numpy(), blind)),
    )
    yield from mistakes(folder, name, table)


def _training(folder: Path, training: Metrics, curves: Mapping[str, Curve]) -> Iterator[str]:
    if training or curves:
        yield "## Training"
    if training:
        rows = [[name.replace("_", " "), quantity(value)] for name, value in training.items()]
        yield Table(texts("") + numbers(""), rows).markdown()
    for name, curve in curves.items():
        steps, last = curve[-1]
        title = f"{name}: {last:.3g} after {steps} steps"
        yield save_figure(folder, name, plots.learning_figure(title, name, curve))
