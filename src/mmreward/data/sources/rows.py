"""Common to all sources that read rows somebody else wrote: checked once, built when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from mmreward.data.bad_records import BadRecord, check_policy, refuse
from mmreward.data.columns import Columns
from mmreward.data.images import ImageReader
from mmreward.data.row_checks import RowChecks, implied_group
from mmreward.data.sources.base import SPLITS, LazyRecords, Source, Split
from mmreward.data.splitting import Fractions, split_rows
from mmreward.data.transforms import Transform
from mmreward.errors import UserError
from mmreward.records import Record, RecordError


class Rows(Protocol):
    """A table on disk or in memory. `where` names file and row, counted from 1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...

    def where(self, index: int) -> str: ...


class Reader(Protocol):
    """Turns rows of one layout into records.

    record:        raises RecordError, without file and row; for an image that cannot be had,
                   only when it is looked at
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


@dataclass(frozen=True)
class Checked:
    """What is known about the tables once every row was read.

    splits: (n, 2) table and row of each record; bad: rows left out; unread: columns
    """

    splits: dict[Split, np.ndarray]
    bad: list[BadRecord]
    unread: list[str]


class RowSource(Source):
    """A source over tables.

    Before the first split is handed out, every row is read once: its structure, ranks and
    placeholders, that its images exist and their headers can be read and claim no more than
    `MAX_IMAGE_PIXELS`, that no other row prefers the opposite for the same prompt, images and
    answers. Not noticed then, because it takes decoding or a tokenizer: an image whose end is
    broken, a record that is too long for the model. These fail when they are encoded.

    Where validation or test have no table of their own, rows of train are held out, so that
    neither an image, nor a `group`, nor (where there is no image) a prompt occurs in two splits.
    Images are compared by a hash of their bytes: every file is read once for it.

    `group` of a record, where its row gives none, is its first image, or its prompt if it has
    none: rows about one image are not independent.

    Images that the transform drops are not looked at and need not exist: rows are split and
    grouped by their prompts, but contradict only rows of the same image cell.

    fractions:     what is held out
    on_bad_record: "error": any bad row is an error that names it; "skip": bad rows are left out
                   and listed in `bad_records`
    """

    def __init__(
        self, name: str, tables: Sequence[Table], fractions: Fractions, on_bad_record: str
    ) -> None:
        self.name = name
        self.tables = tables
        apart = {table.split for table in tables}
        self.fractions = replace(
            fractions,
            validation=0.0 if "validation" in apart else fractions.validation,
            test=0.0 if "test" in apart else fractions.test,
        )
        self.on_bad_record = check_policy(on_bad_record)

    def through(self, transform: Transform) -> Self:
        other = super().through(transform)
        other.__dict__.pop("_checked", None)  # what is a bad row depends on it
        return other

    def records(self, split: Split) -> Sequence[Record]:
        """Raises RecordError for bad rows and UserError if there is nothing to learn from."""
        places = self._checked.splits[split]
        return LazyRecords(len(places), partial(self._record, places))

    @property
    def bad_records(self) -> list[BadRecord]:
        return self._checked.bad

    @property
    def unread_columns(self) -> list[str]:
        return self._checked.unread

    def _record(self, places: np.ndarray, number: int) -> Record:
        table, row = self.tables[places[number][0]], int(places[number][1])
        try:
            record = self.transform.strip(table.record(row))
            return replace(record, group=record.group or implied_group(record))
        except RecordError as error:  # the file has changed since it was checked
            raise RecordError(f"{table.rows.where(row)}: {error}") from None

    @cached_property
    def _checked(self) -> Checked:
        lengths = [len(table.rows) for table in self.tables]
        if not sum(lengths):
            raise UserError("the data source has no rows; check data.source.path")
        rows = np.concatenate([np.arange(length) for length in lengths])
        places = np.stack([np.repeat(np.arange(len(lengths)), lengths), rows], axis=1)

        def at(number: int) -> tuple[Table, int]:
            return self.tables[places[number][0]], int(places[number][1])

        def read(number: int) -> Record:
            table, row = at(number)
            return table.record(row)

        def where(number: int) -> str:
            table, row = at(number)
            return table.rows.where(row)

        hold_out = self.fractions.validation > 0 or self.fractions.test > 0
        checks = RowChecks(read, self.transform.strip, where)
        for number in range(len(places)):
            checks.add(number, keys=hold_out and at(number)[0].split == "train")
        readers = list(dict.fromkeys(table.reader for table in self.tables))
        for reader in readers:
            reader.check_columns()
        checks.compare()
        if self.on_bad_record == "error":
            refuse(checks.bad(), len(places))
        numbers = self._splits(checks, [at(number)[0].split for number in range(len(places))])
        if not any(checks.n_pairs[number] for number in numbers["train"]):
            raise UserError(_nothing_to_learn(checks.bad(), len(numbers["train"]), where(0)))
        return Checked(
            {split: places[chosen] for split, chosen in numbers.items()},
            checks.bad(),
            sorted({name for reader in readers for name in reader.unread()}),
        )

    def _splits(self, checks: RowChecks, own: Sequence[Split]) -> dict[Split, list[int]]:
        """The good rows, split by split and in the order of the tables. own: their tables'."""
        good = [number for number in range(len(own)) if number not in checks.reasons]
        held = [number for number in good if number in checks.keys]
        chosen = split_rows([checks.keys[n] for n in held], self.fractions) if held else []
        assigned = dict(zip(held, chosen, strict=True))
        numbers: dict[Split, list[int]] = {split: [] for split in SPLITS}
        for number in good:
            numbers[assigned.get(number, own[number])].append(number)
        return numbers


def _nothing_to_learn(bad: Sequence[BadRecord], left: int, first: str) -> str:
    if not left:
        reason = f"{bad[0].where}: {bad[0].reason}" if bad else f"{first}: all rows are held out"
        return f"no row is left to train on; {reason}"
    return (
        f"none of the {left} rows to train on prefers one answer to another ({first} and "
        "following); a source needs answers of different ranks"
    )


class FileSource(RowSource, ABC):
    """Comparisons from files of rows; a format adds how a file's rows are read.

    path:            the training rows
    validation_path, test_path: files of their own; without one, rows of `path` are held out
    validation, test: fractions of the rows to hold out
    split_seed:      of that choice
    columns:         field -> column, where it is not the one of `columns.COLUMNS`
    image_root:      folder that image paths start from; that of the file if None
    allow_outside:   image paths may leave it
    fetch_urls:      image URLs are fetched
    name:            of the data in reports; the file's if None
    on_bad_record:   "error" or "skip"; what is checked when: see `RowSource`

    What an image may be: see `ImageReader`. Raises UserError for a path that does not exist.
    """

    def __init__(
        self,
        path: str | None,
        validation_path: str | None = None,
        test_path: str | None = None,
        validation: float = 0.05,
        test: float = 0.1,
        split_seed: int = 0,
        columns: Mapping[str, str | None] | None = None,
        image_root: str | None = None,
        allow_outside: bool = False,
        fetch_urls: bool = False,
        name: str | None = None,
        on_bad_record: str = "error",
    ) -> None:
        def tables(given: Path, split: Split) -> list[Table]:
            files = self.files(given)
            root = Path(image_root) if image_root else files[0].parent
            reader = Columns(columns or {}, ImageReader(root, allow_outside, fetch_urls))
            return [Table(split, self.rows(file), reader) for file in files]

        super().__init__(
            data_name(name, str(path)),
            file_tables({"train": path, "validation": validation_path, "test": test_path}, tables),
            Fractions(validation, test, split_seed),
            on_bad_record,
        )

    @abstractmethod
    def rows(self, file: Path) -> Rows:
        """The rows of one file; UserError if it cannot be read."""

    def files(self, path: Path) -> list[Path]:
        """The files of a path that the user gave."""
        return [path]


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
