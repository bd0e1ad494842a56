"""Figures of a comparison. As in mmreward.report.figures: each function returns a figure, and
pyplot is never touched. Runs keep their colour through all figures of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmreward.analysis.findings import variants_finding
from mmreward.analysis.rules import TEXT_RULES
from mmreward.report.figures import (
    BLACK,
    GREY,
    SHOWN,
    colour,
    empty_figure,
    forest_figure,
    interval_line,
    name_lines,
    panels,
    short,
    titled_axes,
)
from mmreward.report.wording import (
    label,
    p_text,
    p_value,
    percent,
    points,
    points_span,
    words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Behind text, so that no line runs through it.
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
# The least that a sweep's axis of accuracies shows, in points: noise must not fill the picture.
LEAST = 6.0


def accuracies_figure(name: str, comparison: Mapping[str, Any]) -> Figure:
    """Accuracy of every run with its interval, and of the rules that need no model."""
    runs = comparison["runs"]
    rows = [(short(run), row["metrics"], colour(i)) for i, (run, row) in enumerate(runs.items())]
    controls = next(iter(runs.values()))["metrics"]["controls"]
    rows += [(label(rule), controls[rule], GREY) for rule in (*TEXT_RULES, "first")]
    accuracies = [row["metrics"]["accuracy"] for row in runs.values()]
    title = (
        f"{name}: from {percent(min(accuracies))} to {percent(max(accuracies))} of "
        f"{comparison['n']} common pairs"
    )
    return forest_figure(title, rows)


def differences_figure(name: str, comparison: Mapping[str, Any]) -> Figure:
    """Paired difference of every run from the first, in points, with its interval and p."""
    runs = comparison["runs"]
    first, *others = runs
    halves = [runs[run]["difference"]["half"] for run in others]
    shown = sum(half["p_holm"] <= 0.05 for half in halves)
    if len(others) == 1:
        told = f"{short(others[0])} {'differs' if shown else 'is not shown to differ'}"
    else:
        told = f"{shown} of {len(others)} runs are shown to differ"
    title = f"{name}: {told} from {short(first)}"
    figure, axes = titled_axes(height=1.3 + 0.38 * len(others), title=title)
    for place, half in enumerate(halves):
        interval = [100 * bound for bound in half["ci95"]]
        told = (
            f"{points(half['difference'])}  [{points_span(half['ci95'])}]  "
            f"{p_text(half['p'])} (Holm {p_value(half['p_holm'])})"
        )
        interval_line(axes, place, 100 * half["difference"], interval, colour(place + 1), told)
    axes.axvline(0, color=BLACK, linestyle="--", linewidth=1)
    name_lines(axes, [short(run) for run in others])
    reach = 110 * max(abs(bound) for half in halves for bound in half["ci95"])
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(f"points more than {short(first)}, with the 95 % interval of the pairs")
    return figure


def categories_figure(name: str, comparison: Mapping[str, Any]) -> Figure:
    """A bar per run in every category, with intervals."""
    runs = dict(list(comparison["runs"].items())[:SHOWN])
    found = {run: row["metrics"]["categories"] for run, row in runs.items()}
    counts = {category: row["n"] for category, row in next(iter(found.values())).items()}
    width = 0.8 / len(runs)
    height = 1.6 + len(counts) * (0.25 + 0.16 * len(runs))
    figure, axes = titled_axes(height, title=f"{name}: accuracy by category")
    for i, (run, categories) in enumerate(found.items()):
        values = [categories[category] for category in counts]
        lengths = np.array([100 * v["accuracy"] for v in values])
        ends = 100 * np.array([v["accuracy_ci95"] for v in values]).T
        places = np.arange(len(counts)) + (i - (len(runs) - 1) / 2) * width
        axes.barh(places, lengths, 0.92 * width, color=colour(i), label=short(run))
        errors = np.abs(ends - lengths)
        axes.errorbar(
            lengths, places, xerr=errors, fmt="none", ecolor=BLACK, elinewidth=1, capsize=2
        )
    axes.axvline(50, color=BLACK, linestyle="--", linewidth=1)
    names = [f"{short(category)} (n = {n})" for category, n in counts.items()]
    name_lines(axes, names, fontsize=9)
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy, % (dashed: coin), with the 95 % interval")
    columns = min(5, len(runs))
    figure.legend(frameon=False, fontsize=9, ncols=columns, loc="outside lower left")
    return figure


def margins_figure(name: str, margins: Mapping[str, NDArray[np.float64]]) -> Figure:
    """A histogram of the margins (n,) per run, each in the units of its model."""
    shown = list(margins.items())[:SHOWN]
    figure, grid = panels(len(shown), f"{name}: margins, wrong ones left of the line")
    for i, (axes, (run, values)) in enumerate(zip(grid, shown, strict=True)):
        # A few extreme margins must not squeeze the rest into one bin.
        reach = float(np.quantile(np.abs(values), 0.99)) or 1.0
        bins = np.linspace(-reach, reach, 42)
        axes.hist(np.clip(values, -reach, reach), bins=bins.tolist(), color=colour(i))
        axes.axvline(0, color=BLACK, linestyle="--", linewidth=1)
        axes.set_title(f"{short(run)}: {percent(float(np.mean(values < 0)))} wrong", fontsize=9)
        axes.set_xlabel("margin, units of the model", fontsize=8)
        axes.set_ylabel("pairs", fontsize=8)
    return figure


def variants_figure(comparison: Mapping[str, Any]) -> Figure:
    """A sweep for a slide: accuracy of every variant and its difference from the first, a pair of
    panels per set.

    Dots and thick lines: mean over seeds with the 95 % interval over pairs; small circles: seeds.
    """
    sets = {name: row for name, row in comparison["benchmarks"].items() if row["variants"]}
    rows = max(len(row["variants"]) for row in sets.values())
    height = len(sets) * (1.9 + 0.55 * rows)
    figure = empty_figure(12.0, height, w_pad=0.15, h_pad=0.12, wspace=0.04)
    parts = figure.subfigures(len(sets), 1, squeeze=False)[:, 0]
    for part, (name, row) in zip(parts, sets.items(), strict=True):
        title = words(variants_finding(name, row["variants"]))
        part.suptitle(title, fontsize=15, fontweight="bold", x=0.015, ha="left")
        left, right = part.subplots(1, 2, width_ratios=(1.25, 1.0))
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_axisbelow(True)
            axes.tick_params(labelsize=11)
        _accuracies(left, row)
        _differences(right, row["variants"])
    return figure


def _accuracies(axes: Axes, comparison: Mapping[str, Any]) -> None:
    variants = comparison["variants"]
    ends = []
    for place, row in enumerate(variants.values()):
        mean = 100 * row["accuracy"]
        low, high = (100 * bound for bound in row["over_pairs_ci95"])
        seeds = [100 * comparison["runs"][run]["metrics"]["accuracy"] for run in row["runs"]]
        _line(axes, place, mean, low, high, f"{mean:.1f} %")
        if len(seeds) > 1:
            axes.plot(seeds, [place + 0.24] * len(seeds), "o", mfc="none", color=GREY, markersize=5)
        ends += [low, high, *seeds]
    low, high = min(ends), max(ends)
    pad = max(0.05 * (high - low), (LEAST - (high - low)) / 2)
    axes.set_xlim(max(0.0, low - pad), min(100.5, high + pad))
    if axes.get_xlim()[0] < 50 < axes.get_xlim()[1]:
        axes.axvline(50, color=BLACK, linestyle="--", linewidth=1, label="coin")
        axes.legend(frameon=False, fontsize=11, loc="upper right")
    name_lines(axes, [short(name) for name in variants], fontsize=13)
    several = any(row["seeds"] > 1 for row in variants.values())
    circles = "; circles: seeds" if several else ""
    axes.set_xlabel(
        f"accuracy, %, with its 95 % interval over {comparison['n']:,} pairs{circles}", fontsize=11
    )


def _differences(axes: Axes, variants: Mapping[str, Mapping[str, Any]]) -> None:
    first = short(next(iter(variants)))
    name_lines(axes, [""] * len(variants))
    axes.axvline(0, color=BLACK, linestyle="--", linewidth=1)
    ends = [1.0]
    for place, row in enumerate(variants.values()):
        difference = row["difference"]
        if difference is None:
            axes.annotate(
                "reference", (0, place), xytext=(6, 0), textcoords="offset points", va="center",
                fontsize=11, color=GREY, bbox=PAPER,
            )  # fmt: skip
            continue
        mean = 100 * difference["difference"]
        low, high = (100 * bound for bound in difference["over_pairs_ci95"])
        told = f"{points(difference['difference'])}   {p_text(difference['p_holm'])}"
        _line(axes, place, mean, low, high, told)
        ends += [abs(low), abs(high)]
    reach = 1.25 * max(ends)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(f"points more than {first}, paired, 95 % interval; p by Holm", fontsize=11)


def _line(axes: Axes, place: int, mean: float, low: float, high: float, told: str) -> None:
    paint = colour(place)
    axes.plot([low, high], [place, place], color=paint, linewidth=4, solid_capstyle="butt")
    axes.plot(mean, place, "o", color=paint, markersize=10, zorder=3)
    axes.annotate(
        told, (mean, place - 0.17), ha="center", va="bottom", fontsize=11, color=BLACK, bbox=PAPER
    )
