"""report.md and the table on the screen: what the saved files say, in words, tables and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreward.analysis.pairs import BLIND, MODEL, PairTable, judged_sets, pair_tables
from mmreward.report import figures as plots
from mmreward.report.html import write_html
from mmreward.report.markdown import REPORT, quoted, save_figure
from mmreward.report.mistakes import mistakes_figure, worst_mistakes
from mmreward.report.official import official_lines
from mmreward.report.overview import write_overview
from mmreward.report.pictures import pictures
from mmreward.report.tables import calibration_table, length_table
from mmreward.report.wording import (
    INTERVALS,
    findings,
    image_finding,
    label,
    percent,
    points,
    points_span,
    quantity,
    span,
    warnings,
)
from mmreward.scoring.table import ScoreTable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MISTAKES = 3


def write_report(
    folder: Path,
    metrics: Mapping[str, Any],
    table: ScoreTable,
    curves: Mapping[str, Sequence[tuple[int, float]]] | None = None,
) -> Path:
    """Writes report.md, report.html, the figures and their overview into `folder`.

    Returns the path of report.md.

    metrics: the content of metrics.json
    table:   the score table they were computed from, for margins and examples
    curves:  what to draw against the step, by name ("validation accuracy")
    """
    lines = ["# Report", ""]
    for name, pairs in judged_sets(pair_tables(table)).items():
        lines += _section(folder, name, metrics["benchmarks"][name], pairs)
    lines += _training(folder, metrics["training"], curves or {})
    path, text = folder / REPORT, "\n".join(lines)
    # Lone surrogates in answers have no UTF-8 form.
    path.write_text(text, encoding="utf-8", errors="replace")
    write_overview(folder, text)
    write_html(path)  # trackers show no image that a Markdown file names
    return path


def summary_table(metrics: Mapping[str, Any]) -> Table:
    """The table on the screen: per set the model and the controls, each with interval and n."""
    from rich.table import Table

    table = Table(title="Accuracy on pairs (ties count one half)")
    table.add_column("set", overflow="fold")
    table.add_column("scored by", no_wrap=True)
    for heading in ("accuracy", "95 % interval", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, values in metrics["benchmarks"].items():
        table.add_section()
        for number, (key, row) in enumerate(_rows(values)):
            cells = [percent(row["accuracy"]), span(row["accuracy_ci95"]), str(row["n"])]
            style = "bold" if key == MODEL else None
            table.add_row("" if number else name, label(key), *cells, style=style)
            for official in values["official"].values() if key == MODEL else ():
                if official["headline"]:
                    cells = [percent(official["value"]), span(official["ci95"])]
                    table.add_row("", f"official {official['name']}", *cells, str(official["n"]))
    return table


def print_summary(console: Console, metrics: Mapping[str, Any]) -> None:
    """The table, and of each set what its images are worth and what to be warned of."""
    console.print(summary_table(metrics))
    for name, values in metrics["benchmarks"].items():
        lines = [image_finding(values), *(f"Warning: {text}" for text in warnings(values))]
        for line in lines:
            console.print(f"{name}: {line}", markup=False, highlight=False, soft_wrap=True)


def _rows(metrics: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(MODEL, metrics), *metrics["controls"].items()]


def _section(folder: Path, name: str, metrics: Mapping[str, Any], table: PairTable) -> list[str]:
    margins = table.margins
    blind = margins[BLIND].dropna().to_numpy() if BLIND in margins else None
    figures = {
        "controls": plots.controls_figure(name, metrics),
        "margins": plots.margins_figure(name, margins[MODEL].to_numpy(), blind),
        "reliability": plots.reliability_figure(name, {label(MODEL): metrics["calibration"]}),
    }
    if metrics["categories"]:
        figures["categories"] = plots.categories_figure(name, metrics)
    links = {
        kind: save_figure(folder, f"{name} {kind}", figure) for kind, figure in figures.items()
    }
    lines = [f"## {name}", "", *[f"- {sentence}" for sentence in findings(metrics)], ""]
    lines += [f"> **Warning.** {warning}\n" for warning in warnings(metrics)]
    lines += [*_accuracies(metrics), "", links["controls"], ""]
    if metrics["categories"]:
        lines += [*_categories(metrics), "", links["categories"], ""]
    lines += official_lines(name, {"this run": metrics})
    lines += ["### Calibration", ""]
    lines += calibration_table({label(MODEL): metrics["calibration"]}, heading="")
    lines += [links["reliability"], "", "### Length", ""]
    lines += length_table({label(MODEL): metrics["length"]}, heading="")
    lines += [
        "### Margins",
        "",
        f"Mean margin {metrics['mean_margin']:.3g} [{_margin_span(metrics['mean_margin_ci95'])}] "
        "in the model's own units.",
        "",
        links["margins"],
        "",
        *_mistakes(folder, name, table),
    ]
    return lines


def _accuracies(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "| scored by | accuracy | 95 % interval | n | model minus it, points | 95 % interval |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for key, row in _rows(metrics):
        difference = (
            f"{points(row['difference'])} | {points_span(row['difference_ci95'])}"
            if "difference" in row
            else " | "
        )
        yield (
            f"| {label(key)} | {percent(row['accuracy'])} | {span(row['accuracy_ci95'])} "
            f"| {row['n']} | {difference} |"
        )
    yield ""
    yield (
        f"{metrics['n']} pairs of {metrics['n_records']} records in {metrics['n_groups']} groups. "
        f"{metrics['n_ties']} pairs have equal scores: one half in the accuracy, "
        f"{percent(metrics['strict'])} if they count wrong. "
        f"{metrics['n_judged_equal']} pairs that the data calls equal are left out. "
        f"{metrics['n_duplicates']} records occur more than once. "
        f"Intervals: {INTERVALS[metrics['interval']]}."
    )


def _categories(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "| category | accuracy | 95 % interval | n |"
    yield "| --- | ---: | ---: | ---: |"
    for name, row in metrics["categories"].items():
        cell = name.replace("|", "\\|").replace("\n", " ")
        yield (
            f"| {cell} | {percent(row['accuracy'])} | {span(row['accuracy_ci95'])} | {row['n']} |"
        )


def _mistakes(folder: Path, name: str, table: PairTable) -> Iterator[str]:
    gallery = mistakes_figure(name, table)
    if gallery is None:
        return
    yield from ("### Worst mistakes", "", save_figure(folder, f"{name} mistakes", gallery), "")
    margins = table.margins[MODEL].to_numpy()
    for number, index in enumerate(worst_mistakes(table, MISTAKES), 1):
        pair = table.pairs.iloc[index]
        record = table.records[pair["row"]]
        yield (
            f"**{number}.** margin {margins[index]:.3g}, category "
            f"{pair['category']}, record {record['record']}"
        )
        yield ""
        for picture in pictures(folder, record):
            yield from (picture, "")
        yield from quoted("Prompt", record.get("prompt"))
        answers = record["answers"]
        yield from quoted("Better answer", answers[pair["better"]].get("text"))
        yield from quoted("The model prefers", answers[pair["worse"]].get("text"))


def _training(
    folder: Path, training: Mapping[str, Any], curves: Mapping[str, Sequence[tuple[int, float]]]
) -> Iterator[str]:
    if not training and not curves:
        return
    yield "## Training"
    yield ""
    if training:
        yield "| | |"
        yield "| --- | ---: |"
        for name, value in training.items():
            yield f"| {name.replace('_', ' ')} | {quantity(value)} |"
        yield ""
    for name, rows in curves.items():
        title = f"{name}: {rows[-1][1]:.3g} after {rows[-1][0]} steps"
        yield save_figure(folder, name, plots.learning_figure(title, name, rows))
        yield ""


def _margin_span(interval: Sequence[float] | None) -> str:
    return "unknown" if interval is None else f"{interval[0]:.3g} to {interval[1]:.3g}"
