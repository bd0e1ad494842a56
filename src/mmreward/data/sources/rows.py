"""Common to all sources that read rows somebody else wrote: checked once, built when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from mmreward.data.bad_records import BadRecord, check_policy, refuse
from mmreward.data.columns import Columns
from mmreward.data.images import ImageReader
from mmreward.data.row_checks import RowChecks, implied_group
from mmreward.data.sources.base import LazyRecords, Source, Split
from mmreward.data.sources.tables import Rows, Table, Tables, data_name, file_tables
from mmreward.data.splitting import Fractions
from mmreward.data.transforms import Transform
from mmreward.records import Record, RecordError


class Checked(NamedTuple):
    """What is known once every row was read: numbers of the rows of each split, rows left out,
    columns not read."""

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
        self.tables = Tables(tables)
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
        numbers = self._checked.splits[split]
        return LazyRecords(len(numbers), partial(self._record, numbers))

    @property
    def bad_records(self) -> list[BadRecord]:
        return self._checked.bad

    @property
    def unread_columns(self) -> list[str]:
        return self._checked.unread

    def _record(self, numbers: np.ndarray, place: int) -> Record:
        number = int(numbers[place])
        try:
            record = self.transform.strip(self.tables.record(number))
            return replace(record, group=record.group or implied_group(record))
        except RecordError as error:  # the file has changed since it was checked
            raise RecordError(f"{self.tables.where(number)}: {error}") from None

    @cached_property
    def _checked(self) -> Checked:
        checks = RowChecks(self.tables, self.transform.strip)
        checks.read(keys=self.fractions.validation > 0 or self.fractions.test > 0)
        readers = dict.fromkeys(table.reader for table in self.tables.tables)
        unread = sorted({name for reader in readers for name in reader.unread()})
        checks.compare()
        bad = checks.bad()
        if self.on_bad_record == "error":
            refuse(bad, len(self.tables))
        return Checked(checks.splits(self.fractions), bad, unread)


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
            file_tables(path, validation_path, test_path, tables),
            Fractions(validation, test, split_seed),
            on_bad_record,
        )

    @abstractmethod
    def rows(self, file: Path) -> Rows:
        """The rows of one file; UserError if it cannot be read."""

    def files(self, path: Path) -> list[Path]:
        """The files of a path that the user gave."""
        return [path]
