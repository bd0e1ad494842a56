"""Figures of a comparison. As in mmreward.report.figures: each function returns a figure, and
pyplot is never touched. Runs keep their colour through all figures of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmreward.report.comparison_wording import p_text, p_value, rules
from mmreward.report.figures import (
    BLACK,
    GREY,
    SHOWN,
    colour,
    forest,
    panels,
    short,
    titled_axes,
)
from mmreward.report.wording import label, percent, points, points_span

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def accuracies_figure(name: str, comparison: Mapping[str, Any]) -> Figure:
    """Accuracy of every run with its interval, and of the rules that need no model."""
    runs = comparison["runs"]
    rows = [(short(run), row["metrics"], colour(i)) for i, (run, row) in enumerate(runs.items())]
    rows += [(label(rule), values, GREY) for rule, values in rules(comparison).items()]
    accuracies = [row["metrics"]["accuracy"] for row in runs.values()]
    title = (
        f"{name}: from {percent(min(accuracies))} to {percent(max(accuracies))} of "
        f"{comparison['n']} common pairs"
    )
    figure, axes = titled_axes(height=1.3 + 0.38 * len(rows), title=title)
    forest(axes, rows)
    return figure


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
        low, high = half["ci95"]
        paint = colour(place + 1)
        axes.plot([100 * low, 100 * high], [place, place], color=paint, linewidth=2.4)
        axes.plot(100 * half["difference"], place, "o", color=paint, markersize=7)
        axes.annotate(
            f"{points(half['difference'])}  [{points_span(half['ci95'])}]  "
            f"{p_text(half['p'])} (Holm {p_value(half['p_holm'])})",
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
            color=BLACK,
        )
    axes.axvline(0, color=BLACK, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(others)), [short(run) for run in others])
    axes.set_ylim(len(others) - 0.5, -0.5)
    reach = 110 * max(abs(bound) for half in halves for bound in half["ci95"])
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(f"points more than {short(first)}, with the 95 % interval of the pairs")
    axes.grid(axis="x", color="#E5E5E5")
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
    axes.set_yticks(range(len(counts)), names, fontsize=9)
    axes.set_ylim(len(counts) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy, % (dashed: coin), with the 95 % interval")
    axes.grid(axis="x", color="#E5E5E5")
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
