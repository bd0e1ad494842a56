"""The Markdown that reports are made of: tables, quoted texts, figures."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmreward.report import figures as plots

REPORT = "report.md"
FIGURES = "figures"
EXCERPT = 600

Row = Sequence[str]


def markdown_table(
    headings: Row, rows: Sequence[Row], left: int = 1, right: Container[int] | None = None
) -> list[str]:
    """Lines of a table whose first `left` columns are text and the others numbers, or whose
    columns in `right` are numbers and the others text."""
    numbers = range(left, len(headings)) if right is None else right
    marks = ["---:" if i in numbers else "---" for i in range(len(headings))]
    cells = [headings, marks, *rows]
    return ["| " + " | ".join(_cell(c) for c in row) + " |" for row in cells] + [""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def quoted(heading: str, text: str | None) -> Iterator[str]:
    """A fenced block that the text cannot close."""
    text = "(text not stored)" if text is None else text
    if len(text) > EXCERPT:
        text = text[:EXCERPT] + f" … ({len(text)} characters)"
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{heading}:", "", fence + "text", text, fence, "")


def save_figure(folder: Path, name: str, figure: Any) -> str:
    """Saves a figure and returns the link to it."""
    file = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") + ".png"
    plots.save(figure, folder / FIGURES / file)
    return f"![{name}]({FIGURES}/{file})"
