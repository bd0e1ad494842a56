"""report.md, report.html and figures of an audit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmreward.analysis.rules import TEXT_RULES
from mmreward.audit.overlap import KINDS
from mmreward.audit.profile import QUANTILES
from mmreward.audit.wording import LEAKS, SAME, findings, inline, warnings
from mmreward.report.figures import BLUE, GREY, ORANGE, forest, titled_axes
from mmreward.report.html import write_html
from mmreward.report.markdown import REPORT, markdown_table, save_figure
from mmreward.report.wording import label, percent, span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AUDIT = "audit.json"


def write_audit(folder: Path, found: Mapping[str, Any]) -> Path:
    """Writes audit.json, report.md with its figures and report.html; returns the last."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=2, allow_nan=False)
    (folder / AUDIT).write_text(text + "\n", encoding="utf-8")
    lines = [f"# Audit of {found['source']}", "", *[f"- {s}" for s in findings(found)], ""]
    lines += [f"> **Warning.** {warning}\n" for warning in warnings(found)]
    lines += _splits(found["splits"])
    lines += _left_out(found["left_out"])
    for split, values in found["splits"].items():
        if values["n_pairs"]:
            lines += _surface(folder, split, values)
    lines += _repeated(found["splits"])
    lines += _lengths(folder, found["splits"])
    lines += _images(found["splits"])
    lines += _overlap(found["overlap"])
    path = folder / REPORT
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    return write_html(path)


def _splits(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    rows = [
        (
            name,
            f"{v['n_records']:,}",
            f"{v['n_sampled']:,}",
            f"{v['n_pairs']:,}",
            f"{v['n_judged_equal']:,}",
            ", ".join(f"{k}: {n:,}" for k, n in v["answers"].items()),
            f"{v['n_with_images']:,}",
        )
        for name, v in splits.items()
    ]
    yield from ("## What is in it", "")
    yield from markdown_table(
        ("split", "records", "looked at", "pairs", "judged equal", "records by answers",
         "with images"), rows
    )  # fmt: skip


def _left_out(left_out: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    if left_out:
        rows = [(reason, example, f"{count:,}") for reason, (count, example) in left_out.items()]
        yield from ("## Rows that cannot be used", "")
        yield from markdown_table(("reason", "the first", "rows"), rows, left=2)


def _surface(folder: Path, split: str, values: Mapping[str, Any]) -> Iterator[str]:
    rows = [(label(name), row, GREY) for name, row in values["rules"].items()]
    if values["classifier"]:
        rows.append(("classifier of surfaces", values["classifier"], ORANGE))
    yield from (f"## What the surface decides: {split}", "")
    yield from markdown_table(
        ("decided by", "accuracy", "95 % interval", "n"),
        [
            (name, percent(row["accuracy"]), span(row["accuracy_ci95"]), f"{row['n']:,}")
            for name, row, _ in rows
        ],
    )
    chosen = [label(name) for name in TEXT_RULES] + ["classifier of surfaces"]
    best = max((row for row in rows if row[0] in chosen), key=lambda item: item[1]["accuracy"])
    title = f"{split}: {best[0]!r} is right in {percent(best[1]['accuracy'])}"
    figure, axes = titled_axes(height=1.3 + 0.38 * len(rows), title=title)
    forest(axes, rows)
    yield from (save_figure(folder, f"{split} surface", figure), "")
    if values["classifier"]:
        weights = sorted(values["classifier"]["weights"].items(), key=lambda item: -abs(item[1]))
        told = ", ".join(f"{name} {weight:+.2f}" for name, weight in weights)
        yield (
            "The classifier is a logistic regression on ten features, cross-validated by image or "
            f"prompt. Weights per standard deviation, more of it wins above 0: {told}."
        )
        yield ""
    if values["templates"]:
        yield from ("Answers that many records share, numbers masked:", "")
        yield from markdown_table(
            ("answer", "records", "better", "worse"),
            [
                (f"`{inline(t['text'])}`", f"{t['n']:,}", f"{t['wins']:,}", f"{t['losses']:,}")
                for t in values["templates"]
            ],
        )


def _repeated(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    kinds = ("duplicates", "contradictions", "same_answers")
    rows = [(name, *(f"{v[kind]:,}" for kind in kinds)) for name, v in splits.items()]
    yield from ("## Pairs that repeat or contradict each other", "")
    yield from markdown_table(("split", *(kind.replace("_", " ") for kind in kinds)), rows)
    for name, values in splits.items():
        for kind, examples in values["examples"].items():
            for wheres in examples:
                places = " and ".join(f"`{inline(where)}`" for where in wheres)
                yield f"- {name}, {kind.replace('_', ' ')}: {places}"
    yield ""


def _lengths(folder: Path, splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    heads = [f"{100 * q:.0f} %" for q in QUANTILES]
    heads[0], heads[-1] = "shortest", "longest"
    rows = [
        (name, part, *(f"{value:,.0f}" for value in quantiles))
        for name, v in splits.items()
        for part, quantiles in v["lengths"].items()
    ]
    yield from ("## Lengths in characters", "")
    yield from markdown_table(("split", "of", *heads), rows, left=2)
    name, values = next((n, v) for n, v in splits.items() if v["n_pairs"])
    yield from (save_figure(folder, f"{name} lengths", _lengths_figure(name, values)), "")


def _lengths_figure(name: str, values: Mapping[str, Any]) -> Figure:
    """Quantiles of the better and the worse answers' lengths, one against the other."""
    better, worse = values["lengths"]["better"], values["lengths"]["worse"]
    middle = QUANTILES.index(0.5)
    longer = "as long as"
    if better[middle] != worse[middle]:
        longer = "longer than" if better[middle] > worse[middle] else "shorter than"
    title = f"{name}: the better answers are, in the median, {longer} the others"
    figure, axes = titled_axes(height=2.4, title=title)
    for place, (lengths, colour) in enumerate(((better, BLUE), (worse, ORANGE))):
        least, low, lower, median, upper, high, most = np.maximum(1, lengths)
        axes.plot([least, most], [place, place], color=colour, linewidth=1)
        axes.plot([low, high], [place, place], color=colour, linewidth=4)
        axes.plot([lower, upper], [place, place], color=colour, linewidth=10, alpha=0.5)
        axes.plot(median, place, "o", color=colour, markersize=8)
    axes.set_yticks([0, 1], ["better", "other"])
    axes.set_ylim(1.6, -0.6)
    axes.set_xscale("log")
    axes.set_xlabel("characters: all, 90 %, 50 % of the answers and the median")
    axes.grid(axis="x", color="#E5E5E5")
    return figure


def _images(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    shown = {name: v["images"] for name, v in splits.items() if v["images"]}
    if not shown:
        return
    rows = []
    for name, v in shown.items():
        sizes = [
            f"{v[side][0]:,.0f} to {v[side][-1]:,.0f}, median {v[side][len(QUANTILES) // 2]:,.0f}"
            if v[side]
            else ""
            for side in ("width", "height")
        ]
        rows.append((
            name,
            f"{v['distinct']:,}",
            ", ".join(f"{k}: {n:,}" for k, n in v["per_record"].items()),
            f"{v['shared']:,}",
            *sizes,
            f"{v['unreadable']:,}",
        ))  # fmt: skip
    yield from ("## Images", "")
    yield from markdown_table(
        ("split", "distinct", "records by images", "in several records", "width", "height",
         "unreadable"), rows
    )  # fmt: skip
    for name, v in shown.items():
        yield from (f"- {name}: {inline(example)}" for example in v["examples"])
    yield ""


def _overlap(overlaps: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not overlaps:
        return
    rows = []
    for name, values in overlaps.items():
        left, right = name.split(" -> ")
        rows.append((left, right, f"{values['n']:,}", *(f"{values[kind]:,}" for kind in KINDS)))
    yield from ("## What the sets share", "")
    yield from markdown_table(
        ("records of", "found in", "n", *(SAME[kind] for kind in KINDS)),
        [(right, left, *rest) for left, right, *rest in rows],
        left=2,
    )
    yield (
        "Each record is counted once, in the first column that is true. Text is compared without "
        "case and spacing; near-duplicates share four fifths of their runs of five words. The last "
        "column alone is no leak: the same words about another picture."
    )
    yield ""
    for right in dict.fromkeys(name.split(" -> ")[1] for name in overlaps):
        values = next(v for name, v in overlaps.items() if name.endswith(f" -> {right}"))
        if values.get("text_only"):
            yield (
                f"- {values['text_only']:,} records of {right} were compared by text alone: their "
                "images are not there."
            )
        if values.get("not_compared"):
            yield f"- {values['not_compared']:,} rows of {right} cannot be read: not compared."
    yield ""
    for name, values in overlaps.items():
        for kind in LEAKS:
            for left, right, similarity in values["examples"].get(kind, ()):
                yield (
                    f"- {name}, {SAME[kind]}: `{inline(left)}` and `{inline(right)}` "
                    f"({100 * similarity:.0f} %)"
                )
    yield ""
