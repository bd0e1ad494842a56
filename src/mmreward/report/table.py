"""Tables: built once, shown on the screen and in Markdown."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Column:
    """number: aligned right; fold: broken into lines where the screen is too narrow."""

    heading: str
    number: bool = False
    fold: bool = False


def texts(*headings: str) -> tuple[Column, ...]:
    return tuple(Column(heading, fold=True) for heading in headings)


def numbers(*headings: str) -> tuple[Column, ...]:
    return tuple(Column(heading, number=True) for heading in headings)


@dataclass(frozen=True)
class Table:
    """rows: a cell per column, text or None for an empty one; the last ones may be missing
    title, note: above and below it on the screen
    sections: rows that a line is drawn above, on the screen; bold: rows in bold there
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str | None]]
    title: str = ""
    note: str = ""
    sections: Container[int] = ()
    bold: Container[int] = ()

    def markdown(self) -> str:
        headings = [column.heading for column in self.columns]
        marks = ["---:" if column.number else "---" for column in self.columns]
        rows: list[Sequence[str | None]] = [headings, marks]
        rows += [[*row, *[None] * (len(headings) - len(row))] for row in self.rows]
        return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)

    def rich(self) -> RichTable:
        from rich.table import Table as RichTable
        from rich.text import Text

        shown = RichTable(title=self.title or None, caption=self.note or None)
        shown.title_justify = shown.caption_justify = "left"
        for column in self.columns:
            shown.add_column(
                column.heading,
                justify="right" if column.number else "left",
                no_wrap=not column.fold,
                overflow="fold" if column.fold else "ellipsis",
            )
        for place, row in enumerate(self.rows):
            if place in self.sections:
                shown.add_section()
            cells = [Text(text or "") for text in row]
            shown.add_row(*cells, style="bold" if place in self.bold else None)
        return shown


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")
