"""Rows on disk and what reads them: the two halves of every source of somebody else's data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from mmreward.data.sources.base import Split
from mmreward.errors import UserError
from mmreward.records import Record, RecordError


class Rows(Protocol):
    """A table on disk or in memory. `where` names file and row, counted from 1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...

    def where(self, index: int) -> str: ...


class Reader(Protocol):
    """Turns rows of one layout into records.

    record:        raises RecordError, without file and row
    check_columns: UserError if the settings name columns that no row read so far had
    unread:        columns of the rows read so far that are no field of a record
    """

    def record(self, row: Mapping[str, Any]) -> Record: ...

    def check_columns(self) -> None: ...

    def unread(self) -> list[str]: ...


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


def data_name(name: str | None, path: str) -> str:
    """`name`, or that of the file or folder, without suffixes."""
    return name or Path(path).resolve().name.split(".")[0]


def file_tables(
    paths: Mapping[Split, str | None], open_file: Callable[[Path, Split], list[Table]]
) -> list[Table]:
    """The tables of the files given for the splits; UserError for one that does not exist."""
    tables = []
    for split, given in paths.items():
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
