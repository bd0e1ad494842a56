"""comparison.md and the table on the screen: one row per variant of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreward.report.comparison_wording import left_out as pairs_left_out
from mmreward.report.comparison_wording import p_value
from mmreward.report.figures import save
from mmreward.report.markdown import markdown_table
from mmreward.report.variants_figure import variants_figure
from mmreward.report.variants_wording import headline, remarks
from mmreward.report.wording import percent, points, points_span, span

if TYPE_CHECKING:
    from rich.table import Table

MARKDOWN, FIGURE = "comparison.md", "comparison.png"

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


def variants_tables(comparison: Mapping[str, Any]) -> Iterator[Table]:
    """What the screen shows, a table per set."""
    from rich.table import Table

    for name, values in _sets(comparison).items():
        title = f"{headline(name, values)}\n{values['n']:,} pairs, 95 % intervals, p by Holm"
        table = Table(title=title, title_justify="left")
        table.add_column("variant", overflow="fold")
        for heading in ("accuracy, %", "sd", "points more", "p", "image gain", "s", "MB"):
            table.add_column(heading, justify="right", no_wrap=True)
        for variant, row in values["variants"].items():
            difference, gain = row["difference"], row["image_gain"]
            table.add_row(
                variant,
                f"{100 * row['accuracy']:.1f} [{_bounds(row['over_pairs_ci95'], '.1f')}]",
                _sd(row),
                f"{points(difference['difference'])} "
                f"[{_bounds(difference['over_pairs_ci95'], '+.1f')}]"
                if difference
                else "",
                p_value(difference["p_holm"]) if difference else "",
                points(gain["difference"]) if gain else "",
                _whole(row["seconds"]),
                _whole(row["peak_memory_mb"]),
            )
        table.caption, table.caption_justify = pairs_left_out(values) or None, "left"
        yield table


def write_variants(folder: Path, comparison: Mapping[str, Any], page: Path) -> list[Path]:
    """Writes comparison.md and comparison.png; returns their paths.

    page: the whole report, in the same folder
    """
    save(variants_figure(comparison), folder / FIGURE)
    lines = ["# Variants", ""]
    for name, values in _sets(comparison).items():
        lines += [f"**{headline(name, values)}.**", "", *_table(values["variants"])]
        if lost := pairs_left_out(values):
            lines += [lost, ""]
    lines += [EXPLAINED, ""]
    if sentences := remarks(comparison):
        lines += [*[f"- {sentence}" for sentence in sentences], ""]
    lines += [f"![{FIGURE}]({FIGURE})", "", f"Every run, with figures: [{page.name}]({page.name})."]
    path = folder / MARKDOWN
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [path, folder / FIGURE]


def summary_metrics(comparison: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of the table under flat names, for a tracker: digits/base/accuracy."""
    flat: dict[str, float | None] = {}
    for name, values in _sets(comparison).items():
        for variant, row in values["variants"].items():
            key = f"{name}/{variant}"
            difference, gain = row["difference"] or {}, row["image_gain"] or {}
            flat |= {f"{key}/{part}": row[part] for part in ("accuracy", "sd")}
            flat |= _ends(f"{key}/accuracy", row["over_pairs_ci95"])
            flat[f"{key}/difference"] = difference.get("difference")
            flat |= _ends(f"{key}/difference", difference.get("over_pairs_ci95"))
            flat[f"{key}/p_holm"] = difference.get("p_holm")
            flat[f"{key}/image_gain"] = gain.get("difference")
            flat |= {f"{key}/{part}": row[part] for part in ("seconds", "peak_memory_mb")}
    return {name: value for name, value in flat.items() if value is not None}


def _sets(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: row for name, row in comparison["benchmarks"].items() if row["variants"]}


def _ends(name: str, interval: Sequence[float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _table(variants: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = []
    for name, row in variants.items():
        difference, gain = row["difference"], row["image_gain"]
        rows.append((
            name,
            str(row["seeds"]),
            f"{percent(row['accuracy'])} [{span(row['over_pairs_ci95'])}]",
            f"{_sd(row)} ({100 * row['noise']:.1f})" if row["seeds"] > 1 else "",
            f"{points(difference['difference'])} [{points_span(difference['over_pairs_ci95'])}]"
            if difference
            else "",
            p_value(difference["p"]) if difference else "",
            p_value(difference["p_holm"]) if difference else "",
            points_span(difference["over_seeds_ci95"])
            if difference and difference["over_seeds_ci95"]
            else "",
            f"{points(gain['difference'])} [{points_span(gain['ci95'])}]" if gain else "",
            _whole(row["seconds"]),
            _whole(row["peak_memory_mb"]),
        ))  # fmt: skip
    return markdown_table(
        ("variant", "seeds", "accuracy", "sd of seeds", "points more", "p", "Holm", "over seeds",
         "image gain", "training, s", "memory, MB"), rows
    )  # fmt: skip


def _sd(row: Mapping[str, Any]) -> str:
    return "" if row["sd"] is None else f"{100 * row['sd']:.1f}"


def _bounds(interval: Sequence[float], form: str) -> str:
    return ", ".join(f"{100 * bound:{form}}" for bound in interval)


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
