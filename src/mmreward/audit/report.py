"""report.md, report.html and figures of an audit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmreward.analysis.rules import TEXT_RULES
from mmreward.audit.findings import LEAKS, REPEATS, findings, warnings
from mmreward.audit.overlap import KINDS
from mmreward.audit.profile import QUANTILES
from mmreward.report.figures import BLUE, GREY, ORANGE, forest_figure, titled_axes
from mmreward.report.page import REPORT, save_figure, write_html, write_json, write_page
from mmreward.report.table import Table, numbers, texts
from mmreward.report.wording import SHARED, bullets, count, inline, label, percent, span, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AUDIT = "audit.json"
CLASSIFIER = "classifier of surfaces"

Numbers = Mapping[str, Any]
Splits = Mapping[str, Numbers]


def write_audit(folder: Path, found: Numbers) -> Path:
    """Writes audit.json, report.md with its figures and report.html; returns the last."""
    write_json(folder / AUDIT, found)
    blocks = [f"# Audit of {found['source']}", bullets(findings(found))]
    blocks += [f"> **Warning.** {words(warning)}" for warning in warnings(found)]
    blocks += _splits(found["splits"])
    blocks += _left_out(found["left_out"])
    for split, values in found["splits"].items():
        if values["n_pairs"]:
            blocks += _surface(folder, split, values)
    blocks += _repeated(found["splits"])
    blocks += _lengths(folder, found["splits"])
    blocks += _images(found["splits"])
    blocks += _overlap(found["overlap"])
    return write_html(write_page(folder / REPORT, filter(None, blocks)))


def _splits(splits: Splits) -> Iterator[str]:
    kinds = ("n_records", "n_sampled", "n_pairs", "n_judged_equal")
    rows = [
        [name, *(count(v[kind]) for kind in kinds), _by_count(v["answers"]),
         count(v["n_with_images"])]
        for name, v in splits.items()
    ]  # fmt: skip
    columns = texts("split") + numbers(
        "records", "looked at", "pairs", "judged equal", "records by answers", "with images"
    )
    yield from ("## What is in it", Table(columns, rows).markdown())


def _by_count(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{k}: {n:,}" for k, n in counts.items())


def _left_out(left_out: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    if left_out:
        rows = [[reason, example, count(n)] for reason, (n, example) in left_out.items()]
        columns = texts("reason", "the first") + numbers("rows")
        yield from ("## Rows that cannot be used", Table(columns, rows).markdown())


def _surface(folder: Path, split: str, values: Numbers) -> Iterator[str]:
    classifier = values["classifier"]
    known = {label(name): row for name, row in values["rules"].items()}
    known |= {CLASSIFIER: classifier} if classifier else {}
    rows = [
        [name, percent(row["accuracy"]), span(row["accuracy_ci95"]), count(row["n"])]
        for name, row in known.items()
    ]
    columns = texts("decided by") + numbers("accuracy", "95 % interval", "n")
    yield from (f"## What the surface decides: {split}", Table(columns, rows).markdown())
    chosen = [name for name in (*map(label, TEXT_RULES), CLASSIFIER) if name in known]
    best = max(chosen, key=lambda name: known[name]["accuracy"])
    title = f"{split}: {best!r} is right in {percent(known[best]['accuracy'])}"
    lines = [(n, row, ORANGE if n == CLASSIFIER else GREY) for n, row in known.items()]
    yield save_figure(folder, f"{split} surface", forest_figure(title, lines))
    if classifier:
        weights = sorted(classifier["weights"].items(), key=lambda item: -abs(item[1]))
        told = ", ".join(f"{name} {weight:+.2f}" for name, weight in weights)
        yield (
            "The classifier is a logistic regression on ten features, cross-validated by image or "
            f"prompt. Weights per standard deviation, more of it wins above 0: {told}."
        )
    if values["templates"]:
        rows = [
            [f"`{inline(t['text'])}`", *(count(t[kind]) for kind in ("n", "wins", "losses"))]
            for t in values["templates"]
        ]
        yield "Answers that many records share, numbers masked:"
        yield Table(texts("answer") + numbers("records", "better", "worse"), rows).markdown()


def _repeated(splits: Splits) -> Iterator[str]:
    rows = [[name, *(count(v[kind]) for kind in REPEATS)] for name, v in splits.items()]
    columns = texts("split") + numbers(*(kind.replace("_", " ") for kind in REPEATS))
    yield "## Pairs that repeat or contradict each other"
    yield Table(columns, rows).markdown()
    yield "\n".join(
        f"- {name}, {kind.replace('_', ' ')}: " + " and ".join(f"`{inline(w)}`" for w in wheres)
        for name, values in splits.items()
        for kind, examples in values["examples"].items()
        for wheres in examples
    )


def _lengths(folder: Path, splits: Splits) -> Iterator[str]:
    middle = [f"{100 * q:.0f} %" for q in QUANTILES[1:-1]]
    rows = [
        [name, part, *(f"{value:,.0f}" for value in quantiles)]
        for name, v in splits.items()
        for part, quantiles in v["lengths"].items()
    ]
    columns = texts("split", "of") + numbers("shortest", *middle, "longest")
    yield from ("## Lengths in characters", Table(columns, rows).markdown())
    name, values = next((n, v) for n, v in splits.items() if v["n_pairs"])
    yield save_figure(folder, f"{name} lengths", _lengths_figure(name, values["lengths"]))


def _lengths_figure(name: str, lengths: Numbers) -> Figure:
    """Quantiles of the better and the worse answers' lengths, one against the other."""
    better, worse = lengths["better"], lengths["worse"]
    middle = QUANTILES.index(0.5)
    longer = "as long as"
    if better[middle] != worse[middle]:
        longer = "longer than" if better[middle] > worse[middle] else "shorter than"
    title = f"{name}: the better answers are, in the median, {longer} the others"
    figure, axes = titled_axes(height=2.4, title=title)
    for place, (quantiles, colour) in enumerate(((better, BLUE), (worse, ORANGE))):
        least, low, lower, median, upper, high, most = np.maximum(1, quantiles)
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


def _images(splits: Splits) -> Iterator[str]:
    shown = {name: v["images"] for name, v in splits.items() if v["images"]}
    if not shown:
        return
    rows = [
        [name, count(v["distinct"]), _by_count(v["per_record"]), count(v["shared"]),
         _sizes(v["width"]), _sizes(v["height"]), count(v["unreadable"])]
        for name, v in shown.items()
    ]  # fmt: skip
    columns = texts("split") + numbers(
        "distinct", "records by images", "in several records", "width", "height", "unreadable"
    )
    yield from ("## Images", Table(columns, rows).markdown())
    yield "\n".join(f"- {name}: {inline(e)}" for name, v in shown.items() for e in v["examples"])


def _sizes(quantiles: Sequence[float]) -> str | None:
    if not quantiles:
        return None
    median = quantiles[QUANTILES.index(0.5)]
    return f"{quantiles[0]:,.0f} to {quantiles[-1]:,.0f}, median {median:,.0f}"


def _overlap(overlaps: Mapping[str, Numbers]) -> Iterator[str]:
    if not overlaps:
        return
    rows, not_whole, examples = [], [], []
    for name, values in overlaps.items():
        left, right = name.split(" -> ")
        rows.append([right, left, *(count(values[kind]) for kind in ("n", *KINDS))])
        if values.get("text_only"):
            not_whole.append(
                f"- {values['text_only']:,} records of {right} were compared by text alone: their "
                "images are not there."
            )
        if values.get("not_compared"):
            lost = count(values["not_compared"])
            not_whole.append(f"- {lost} rows of {right} cannot be read: not compared.")
        examples += [
            f"- {name}, {SHARED[kind]}: `{inline(ours)}` and `{inline(theirs)}` "
            f"({100 * similarity:.0f} %)"
            for kind in LEAKS
            for ours, theirs, similarity in values["examples"].get(kind, ())
        ]
    columns = texts("records of", "found in") + numbers("n", *(SHARED[kind] for kind in KINDS))
    yield from ("## What the sets share", Table(columns, rows).markdown())
    yield (
        "Each record is counted once, in the first column that is true. Text is compared without "
        "case and spacing; near-duplicates share four fifths of their runs of five words. The last "
        "column alone is no leak: the same words about another picture."
    )
    # Said of every split beside that set, and once here.
    yield "\n".join(dict.fromkeys(not_whole))
    yield "\n".join(examples)
