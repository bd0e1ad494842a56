"""comparison.md and the table on the screen: one row per variant of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmreward.analysis.findings import Finding, remarks, variants_finding
from mmreward.report.comparison_figures import variants_figure
from mmreward.report.figures import save
from mmreward.report.page import write_page
from mmreward.report.table import Table, numbers, texts
from mmreward.report.wording import bullets, gain, p_value, points, points_span, share, words

MARKDOWN, FIGURE = "comparison.md", "comparison.png"

Comparison = Mapping[str, Any]

# {heading: cell} of the file; a screen has room for fewer and shorter ones.
FILE = {
    "seeds": "seeds", "accuracy": "accuracy", "sd of seeds": "sd and chance",
    "points more": "difference", "p": "p", "Holm": "holm", "over seeds": "over seeds",
    "image gain": "gain and interval", "training, s": "seconds", "memory, MB": "peak_memory_mb",
}  # fmt: skip
SCREEN = {
    "accuracy, %": "accuracy, %", "sd": "sd", "points more": "difference", "p": "holm",
    "image gain": "gain", "s": "seconds", "MB": "peak_memory_mb",
}  # fmt: skip

EXPLAINED = (
    "Accuracy: mean over the seeds, with its 95 % interval over pairs: if other pairs of the same "
    "kind had been asked with these seeds, whose judgements of a group of pairs count together. "
    "*sd of seeds*: standard deviation between them, and in brackets what seeds of equal skill "
    "would show by chance (points). *Points more*: paired difference from the first variant with "
    "its interval over pairs; p is two-sided, from flipping the signs of whole groups of pairs "
    "after averaging over seeds, adjusted by Holm for the number of variants. *Over seeds*: its "
    "interval if other seeds had been asked these pairs (Welch). A difference is called shown if "
    "the adjusted p is at most .05 and the interval over seeds, where there is one, leaves 0 out. "
    "*Image gain*: points lost with the images greyed out. Seconds are the mean over seeds, memory "
    "is the largest."
)


def screen_tables(comparison: Comparison) -> Iterator[Table]:
    """What the screen shows, a table per set."""
    for name, values in _sets(comparison).items():
        title = words(variants_finding(name, values["variants"]))
        title += f"\n{values['n']:,} pairs, 95 % intervals, p by Holm"
        lost = words(Finding("pairs_lost", values))
        yield _table(values["variants"], SCREEN, title=title, note=lost)


def write_variants(folder: Path, comparison: Comparison, page: Path) -> list[Path]:
    """Writes comparison.md and comparison.png; returns their paths.

    page: the whole report, in the same folder
    """
    save(variants_figure(comparison), folder / FIGURE)
    blocks = ["# Variants"]
    for name, values in _sets(comparison).items():
        blocks.append(f"**{words(variants_finding(name, values['variants']))}.**")
        blocks.append(_table(values["variants"], FILE).markdown())
        blocks.append(words(Finding("pairs_lost", values)))
    blocks += [EXPLAINED, bullets(remarks(comparison)), f"![{FIGURE}]({FIGURE})"]
    blocks.append(f"Every run, with figures: [{page.name}]({page.name}).")
    return [write_page(folder / MARKDOWN, filter(None, blocks)), folder / FIGURE]


def summary_metrics(comparison: Comparison) -> dict[str, float]:
    """The numbers of the table under flat names, for a tracker: digits/base/accuracy."""
    flat: dict[str, float] = {}
    for name, values in _sets(comparison).items():
        for variant, row in values["variants"].items():
            difference, lost = row["difference"] or {}, row["image_gain"] or {}
            own = {part: row[part] for part in ("accuracy", "sd", "seconds", "peak_memory_mb")}
            own |= {part: difference.get(part) for part in ("difference", "p_holm")}
            own["image_gain"] = lost.get("difference")
            for part, found in (("accuracy", row), ("difference", difference)):
                low, high = found.get("over_pairs_ci95") or (None, None)
                own |= {f"{part}_low": low, f"{part}_high": high}
            flat |= {f"{name}/{variant}/{k}": v for k, v in own.items() if v is not None}
    return flat


def _sets(comparison: Comparison) -> dict[str, Mapping[str, Any]]:
    return {name: row for name, row in comparison["benchmarks"].items() if row["variants"]}


def _table(variants: Mapping[str, Any], columns: Mapping[str, str], **shown: Any) -> Table:
    rows = [[name, *map(_cells(row).get, columns.values())] for name, row in variants.items()]
    return Table(texts("variant") + numbers(*columns), rows, **shown)


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """What there is to say of a variant."""
    accuracy = share(row["accuracy"], row["over_pairs_ci95"])
    cells = {"seeds": str(row["seeds"]), "accuracy": accuracy}
    cells["accuracy, %"] = accuracy.replace(" %", "")  # the heading has the unit
    if row["seeds"] > 1:
        cells["sd"] = f"{100 * row['sd']:.1f}"
        cells["sd and chance"] = f"{cells['sd']} ({100 * row['noise']:.1f})"
    if difference := row["difference"]:
        cells["difference"] = gain(difference["difference"], difference["over_pairs_ci95"])
        cells |= {"p": p_value(difference["p"]), "holm": p_value(difference["p_holm"])}
        if difference["over_seeds_ci95"]:
            cells["over seeds"] = points_span(difference["over_seeds_ci95"])
    if lost := row["image_gain"]:
        cells["gain"] = points(lost["difference"])
        cells["gain and interval"] = gain(lost["difference"], lost["ci95"])
    known = (key for key in ("seconds", "peak_memory_mb") if row[key] is not None)
    return cells | {key: f"{row[key]:,.0f}" for key in known}
