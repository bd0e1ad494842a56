"""Rows on disk and what reads them: the two halves of every source of somebody else's data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from mmreward.data.sources.base import SPLITS, Split
from mmreward.errors import UserError
from mmreward.records import Record, RecordError


class Rows(Protocol):
    """A table on disk or in memory. `where` names file and row, counted from 1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...

    def where(self, index: int) -> str: ...


class Reader(ABC):
    """Turns rows of one layout into records."""

    @abstractmethod
    def record(self, row: Mapping[str, Any]) -> Record:
        """Raises RecordError, without file and row; for an image that cannot be had, only when it
        is looked at."""

    def unread(self) -> list[str]:
        """Columns of the rows read so far that are no field of a record. UserError if the settings
        name columns that none of these rows had."""
        return []


@dataclass(frozen=True)
class Table:
    """Rows and their reader.

    split:    the split they belong to; "train" rows may be split further
    category: of rows that give none
    """

    split: Split
    rows: Rows
    reader: Reader
    category: str = ""

    def record(self, index: int) -> Record:
        """Raises RecordError, without file and row."""
        try:
            record = self.reader.record(self.rows[index])
        except RecursionError:
            raise RecordError("its lists are nested too deeply to be read") from None
        return replace(
            record,
            where=self.rows.where(index),
            source_id=record.source_id or str(index + 1),
            category=record.category or self.category,
        )


class Tables:
    """Tables one after another; a row is named by its number in all of them."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tables
        self._starts = list(accumulate((len(table.rows) for table in tables), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def find(self, number: int) -> tuple[Table, int]:
        """The table of a row, and its number there."""
        t = bisect_right(self._starts, number) - 1
        return self.tables[t], int(number) - self._starts[t]

    def record(self, number: int) -> Record:
        """Raises RecordError, without file and row."""
        table, row = self.find(number)
        return table.record(row)

    def where(self, number: int) -> str:
        """File and row, for messages."""
        table, row = self.find(number)
        return table.rows.where(row)


def data_name(name: str | None, path: str) -> str:
    """`name`, or that of the file or folder, without suffixes."""
    return name or Path(path).resolve().name.split(".")[0]


def file_tables(
    train: str | None,
    validation: str | None,
    test: str | None,
    open_file: Callable[[Path, Split], list[Table]],
) -> list[Table]:
    """The tables of the files given for the splits; UserError for one that does not exist."""
    tables = []
    for split, given in zip(SPLITS, (train, validation, test), strict=True):
        key = "data.source.path" if split == "train" else f"data.source.{split}_path"
        if given is None:
            if split == "train":
                raise UserError(f"{key} is missing; give the file that holds the data")
            continue
        path = Path(given)
        if not path.exists():
            raise UserError(f"{key}={given} does not exist; give a file that does")
        tables += open_file(path, split)
    return tables
