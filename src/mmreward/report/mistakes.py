"""The worst mistakes of a run, as pictures: what numbers do not show."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from mmreward.analysis.pairs import MODEL, PairTable
from mmreward.errors import UserError
from mmreward.records import Media
from mmreward.report.figures import BLACK, BLUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 6  # mistakes
COLUMNS = 3
LETTERS = 44  # a line below an image
WRONG = "#B35900"  # as dark as letters need


def worst_mistakes(table: PairTable, count: int) -> list[int]:
    """Places of the pairs with the lowest margins below 0, the lowest first."""
    margins = table.margins[MODEL].to_numpy()
    return [int(i) for i in np.argsort(margins, kind="stable")[:count] if margins[i] < 0]


def mistakes_figure(name: str, table: PairTable) -> Figure | None:
    """The worst mistakes of a set, each with its first image; None if there is no mistake."""
    from matplotlib.figure import Figure

    worst = worst_mistakes(table, SHOWN)
    if not worst:
        return None
    rows = -(-len(worst) // COLUMNS)
    figure = Figure(figsize=(10.0, 0.6 + 3.6 * rows))
    total = int((table.margins[MODEL] < 0).sum())
    title = f"{name}: the clearest of {total} mistakes"
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.02, ha="left")
    figure.subplots_adjust(0.02, 0.22 / rows, 0.98, 1 - 0.5 / (0.6 + 3.6 * rows), 0.08, 0.75)
    grid = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes in grid:
        axes.set_axis_off()
    for axes, place in zip(grid, worst, strict=False):
        _mistake(axes, table, place)
    return figure


def _mistake(axes: Axes, table: PairTable, place: int) -> None:
    pair = table.pairs.iloc[place]
    record = table.records[pair["row"]]
    picture = _picture(record.get("media") or ())
    if picture is not None:
        axes.imshow(picture, interpolation="nearest")
    answers = record["answers"]
    texts = [
        (_lines(record.get("prompt"), 2), BLACK),
        ("better: " + _lines(answers[pair["better"]].get("text"), 2), BLUE),
        ("preferred: " + _lines(answers[pair["worse"]].get("text"), 2), WRONG),
        (f"margin {table.margins[MODEL].iloc[place]:.3g}", BLACK),
    ]
    height = -0.04
    for text, colour in texts:
        axes.text(
            0, height, text, transform=axes.transAxes, color=colour, fontsize=8, va="top",
            parse_math=False,
        )  # fmt: skip
        height -= 0.085 * (1 + text.count("\n"))


def _lines(text: str | None, most: int) -> str:
    """Text as at most `most` short lines of printable signs."""
    text = "(text not stored)" if text is None else text
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    return textwrap.fill(textwrap.shorten(plain, most * LETTERS - 12, placeholder=" …"), LETTERS)


def _picture(media: Sequence[dict[str, str]]) -> Image.Image | None:
    for entry in media:
        if entry["path"]:
            try:
                picture = Media(path=Path(entry["path"])).load()
                return ImageOps.pad(picture, (360, 360), Image.Resampling.NEAREST, "white")
            except UserError:
                continue
    return None
