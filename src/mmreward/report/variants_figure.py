"""The figure of a sweep: one forest plot of its variants, made to be put on a slide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmreward.report.comparison_wording import p_text
from mmreward.report.figures import BLACK, GREY, colour, short
from mmreward.report.variants_wording import headline
from mmreward.report.wording import points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Behind text, so that no line runs through it.
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
# The least that the axis of accuracies shows, in points: noise must not fill the picture.
LEAST = 6.0


def variants_figure(comparison: Mapping[str, Any]) -> Figure:
    """Accuracy of every variant and its difference from the first, a pair of panels per set.

    Dots and thick lines: mean over seeds with the 95 % interval over pairs; small circles: seeds.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    sets = {name: row for name, row in comparison["benchmarks"].items() if row["variants"]}
    rows = max(len(row["variants"]) for row in sets.values())
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12, wspace=0.04)
    figure = Figure(figsize=(12.0, len(sets) * (1.9 + 0.55 * rows)), layout=layout)
    parts = figure.subfigures(len(sets), 1, squeeze=False)[:, 0]
    for part, (name, row) in zip(parts, sets.items(), strict=True):
        part.suptitle(headline(name, row), fontsize=15, fontweight="bold", x=0.015, ha="left")
        left, right = part.subplots(1, 2, width_ratios=(1.25, 1.0))
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_axisbelow(True)
            axes.grid(axis="x", color="#E5E5E5")
            axes.tick_params(labelsize=11)
            axes.set_ylim(len(row["variants"]) - 0.5, -0.5)
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
        _line(axes, place, mean, low, high)
        if len(seeds) > 1:
            axes.plot(seeds, [place + 0.24] * len(seeds), "o", mfc="none", color=GREY, markersize=5)
        axes.annotate(
            f"{mean:.1f} %", (mean, place - 0.17), ha="center", va="bottom", fontsize=11,
            color=BLACK, bbox=PAPER,
        )  # fmt: skip
        ends += [low, high, *seeds]
    low, high = min(ends), max(ends)
    pad = max(0.05 * (high - low), (LEAST - (high - low)) / 2)
    axes.set_xlim(max(0.0, low - pad), min(100.5, high + pad))
    if axes.get_xlim()[0] < 50 < axes.get_xlim()[1]:
        axes.axvline(50, color=BLACK, linestyle="--", linewidth=1, label="coin")
        axes.legend(frameon=False, fontsize=11, loc="upper right")
    axes.set_yticks(range(len(variants)), [short(name) for name in variants], fontsize=13)
    several = any(row["seeds"] > 1 for row in variants.values())
    circles = "; circles: seeds" if several else ""
    axes.set_xlabel(
        f"accuracy, %, with its 95 % interval over {comparison['n']:,} pairs{circles}", fontsize=11
    )


def _differences(axes: Axes, variants: Mapping[str, Mapping[str, Any]]) -> None:
    first = short(next(iter(variants)))
    axes.set_yticks(range(len(variants)), [""] * len(variants))
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
        _line(axes, place, mean, low, high)
        axes.annotate(
            f"{points(difference['difference'])}   {p_text(difference['p_holm'])}",
            (mean, place - 0.17), ha="center", va="bottom", fontsize=11,
                color=BLACK, bbox=PAPER,
        )  # fmt: skip
        ends += [abs(low), abs(high)]
    reach = 1.25 * max(ends)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(f"points more than {first}, paired, 95 % interval; p by Holm", fontsize=11)


def _line(axes: Axes, place: int, mean: float, low: float, high: float) -> None:
    paint = colour(place)
    axes.plot([low, high], [place, place], color=paint, linewidth=4, solid_capstyle="butt")
    axes.plot(mean, place, "o", color=paint, markersize=10, zorder=3)
