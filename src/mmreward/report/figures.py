"""Figures of a report. Each function returns a figure; matplotlib is imported when one is drawn
and its global state (pyplot) is never touched.

Colours are from the Okabe-Ito palette, which colour-blind readers can tell apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmreward.analysis.findings import above_zero
from mmreward.analysis.intervals import wilson
from mmreward.analysis.rules import RULES
from mmreward.report.wording import accuracy, label, percent, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, BLACK = "#0072B2", "#E69F00", "#7F7F7F", "#222222"
# For several runs, darker ones first.
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#5B5B5B")
# Panels and bars for more runs could not be read; tables and the two forest plots hold all.
SHOWN = len(COLOURS)


def controls_figure(name: str, metrics: Mapping[str, Any]) -> Figure:
    """Accuracy of the model with its interval beside every control, and the line of a coin."""
    rows = [("intact", metrics, BLUE)]
    rows += [
        (control, values, GREY if control in RULES else ORANGE)
        for control, values in metrics["controls"].items()
    ]
    title = f"{name}: the model is right in {percent(metrics['accuracy'])} of {metrics['n']} pairs"
    if "image_gain" in metrics:
        gain = metrics["image_gain"]
        title += (
            f",\n{points(gain['difference'])} points of it thanks to the images"
            if above_zero(gain["ci95"])
            else ",\nwith no shown use of the images"
        )
    return forest_figure(title, [(label(key), values, paint) for key, values, paint in rows])


def categories_figure(name: str, metrics: Mapping[str, Any]) -> Figure:
    """Accuracy per category with intervals, best first, below the accuracy over all."""
    ordered = sorted(
        metrics["categories"].items(), key=lambda item: item[1]["accuracy"], reverse=True
    )
    best, worst = ordered[0], ordered[-1]
    title = (
        f"{name}: from {percent(worst[1]['accuracy'])} ({short(worst[0])}) "
        f"to {percent(best[1]['accuracy'])} ({short(best[0])})"
    )
    rows = [("all", metrics, BLUE)]
    return forest_figure(title, rows + [(short(name), values, ORANGE) for name, values in ordered])


def margins_figure(
    name: str, intact: NDArray[np.float64], blind: NDArray[np.float64] | None
) -> Figure:
    """Histogram of the margins (n,), and of those with the image greyed out, on the same bins."""
    wrong = float(np.mean(intact < 0))
    figure, axes = titled_axes(
        height=3.6, title=f"{name}: {percent(wrong)} of the pairs have a negative margin"
    )
    every = intact if blind is None else np.concatenate([intact, blind])
    # A few extreme margins must not squeeze the rest into one bin; they fall into the outer ones.
    low, high = np.quantile(every, [0.005, 0.995])
    pad = 0.02 * (high - low) or 1.0
    bins = np.linspace(low - pad, high + pad, 41).tolist()
    for values, colour, text in ((blind, ORANGE, "blind_image"), (intact, BLUE, "intact")):
        if values is not None:
            clipped = np.clip(values, bins[0], bins[-1])
            axes.hist(clipped, bins=bins, color=colour, alpha=0.35)
            axes.hist(
                clipped, bins=bins, color=colour, histtype="step", linewidth=1.6, label=label(text)
            )
    axes.axvline(0, color=BLACK, linestyle="--", linewidth=1)
    axes.set_xlabel("margin: score of the better answer minus the other")
    axes.set_ylabel("pairs")
    axes.legend(frameon=False)
    return figure


def reliability_figure(name: str, calibrations: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy against confidence per run, before and after the temperature."""
    shown = list(calibrations.items())[:SHOWN]
    title = f"{name}: right as often as sure?\nBelow the line a model is too sure of itself"
    figure, grid = panels(len(shown), title)
    for i, (axes, (run, row)) in enumerate(zip(grid, shown, strict=True)):
        axes.plot([50, 100], [50, 100], color=GREY, linewidth=1)
        for key, paint, text in (
            ("reliability", colour(i), "as it is"),
            ("reliability_scaled", BLACK, "with temperature"),
        ):
            bins = row[key]
            x = 100 * np.array([b["confidence"] for b in bins])
            y = 100 * np.array([b["accuracy"] for b in bins])
            ends = 100 * np.array([wilson(b["right"], b["n"]) for b in bins]).T
            hollow = "white" if key == "reliability_scaled" else paint
            axes.errorbar(
                x, y, np.abs(ends - y), fmt="o", color=paint, mfc=hollow, markersize=4,
                elinewidth=0.8, alpha=0.85, label=text,
            )  # fmt: skip
        error = f"ECE {percent(row['ece'])}, {percent(row['ece_if_calibrated'])} by chance"
        axes.set_title(f"{short(run)}\n{error}", fontsize=9)
        axes.set_xlim(49, 101)
        axes.set_ylim(0, 103)
        axes.set_xlabel("confidence, %", fontsize=8)
        axes.set_ylabel("accuracy, %", fontsize=8)
    grid[0].legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def learning_figure(title: str, ylabel: str, rows: Sequence[tuple[int, float]]) -> Figure:
    """A curve of (step, value) rows."""
    figure, axes = titled_axes(height=3.2, title=title)
    steps, values = zip(*rows, strict=True)
    axes.plot(steps, values, color=BLUE, linewidth=1.8, marker="o" if len(rows) < 30 else "")
    axes.set_xlabel("step")
    axes.set_ylabel(ylabel)
    axes.grid(axis="y", color="#E5E5E5")
    return figure


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Texts of any language may come; signs that matplotlib's fonts lack show as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(path, dpi=150)


def empty_figure(width: float, height: float, **pads: Any) -> Figure:
    """A figure in inches whose parts find their own places."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(**pads))


def titled_axes(height: float, title: str) -> tuple[Figure, Axes]:
    """A figure with one panel and its title."""
    figure = empty_figure(8.0, height, w_pad=0.12, h_pad=0.08)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    """A figure with `count` small panels below one title."""
    columns = min(4, count)
    rows = ceil(count / columns)
    width, height = (11.0, 2.9) if columns > 2 else (8.0, 3.6)
    figure = empty_figure(width, 0.6 + height * rows, w_pad=0.08, h_pad=0.08)
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.02, ha="left")
    grid = figure.subplots(rows, columns, squeeze=False)
    found: list[Axes] = list(grid.flat)
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    for axes in found[count:]:
        axes.set_visible(False)
    return figure, found[:count]


def forest_figure(title: str, rows: Sequence[tuple[str, Mapping[str, Any], str]]) -> Figure:
    """One line per (name, accuracy with interval and n, colour), first on top, beside a coin's."""
    figure, axes = titled_axes(1.3 + 0.38 * len(rows), title)
    for place, (_, values, paint) in enumerate(rows):
        told = f"{accuracy(values)}  n = {values['n']}".replace(" [", "  [")
        interval_line(axes, place, values["accuracy"], values["accuracy_ci95"], paint, told)
    axes.axvline(0.5, color=BLACK, linestyle="--", linewidth=1)
    name_lines(axes, [name for name, _, _ in rows])
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %\n(coin)", "75 %", "100 %"])
    axes.set_xlabel("accuracy with its 95 % interval")
    return figure


def interval_line(
    axes: Axes, place: int, value: float, interval: Sequence[float], paint: str, told: str
) -> None:
    """A dot on its interval, and what it says beside the axes."""
    axes.plot(interval, [place, place], color=paint, linewidth=2.4, solid_capstyle="butt")
    axes.plot(value, place, "o", color=paint, markersize=7, clip_on=False, zorder=3)
    axes.annotate(
        told, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=9,
        color=BLACK,
    )  # fmt: skip


def name_lines(axes: Axes, names: Sequence[str], **text: Any) -> None:
    """Names the lines of a plot, the first on top."""
    axes.set_yticks(range(len(names)), names, **text)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color="#E5E5E5")


def short(text: str, width: int = 32) -> str:
    """`text`, cut off at `width` signs."""
    return text if len(text) <= width else text[: width - 1] + "…"


def colour(number: int) -> str:
    """That of run `number`, the same in all figures of a report."""
    return COLOURS[number % len(COLOURS)]
