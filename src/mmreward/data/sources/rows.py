"""Common to all sources that read rows somebody else wrote: checked once, built when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from mmreward.data.bad_records import BadRecord, check_policy, refuse
from mmreward.data.preparation import drop_images
from mmreward.data.sources.base import LazyRecords, Split
from mmreward.data.sources.check import Check, implied_group
from mmreward.data.sources.tables import Table
from mmreward.data.splitting import Fractions
from mmreward.records import Record, RecordError


@dataclass(frozen=True)
class Checked:
    """What is known about the tables once every row was read.

    splits: (n, 2) table and row of each record; bad: rows left out; unread: columns
    """

    splits: dict[Split, np.ndarray]
    bad: list[BadRecord]
    unread: list[str]


class RowSource:
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

    fractions:     what is held out
    on_bad_record: "error": any bad row is an error that names it; "skip": bad rows are left out
                   and listed in `bad_records`
    images:        "drop" for records without their images, which are not looked at and need not
                   exist; their readers must be told so too. Rows are then split and grouped by
                   their prompts, but contradict only rows of the same image cell. Any other value
                   leaves the images in
    """

    def __init__(
        self,
        name: str,
        tables: Sequence[Table],
        fractions: Fractions,
        on_bad_record: str,
        images: str = "keep",
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
        self.images = images

    def split(self, split: Split) -> Sequence[Record]:
        """Records built when asked for.

        Raises RecordError for bad rows and UserError if there is nothing to learn from.
        """
        places = self._checked.splits[split]
        return LazyRecords(len(places), partial(self._record, places))

    @property
    def bad_records(self) -> list[BadRecord]:
        """Rows that were left out."""
        return self._checked.bad

    @property
    def unread_columns(self) -> list[str]:
        """Columns that are in the rows but are no field of a record."""
        return self._checked.unread

    def _record(self, places: np.ndarray, number: int) -> Record:
        table, row = self.tables[places[number][0]], int(places[number][1])
        try:
            record = table.record(row)
            if self.images == "drop":
                record = drop_images(record)
            return replace(record, group=record.group or implied_group(record))
        except RecordError as error:  # the file has changed since it was checked
            raise RecordError(f"{table.rows.where(row)}: {error}") from None

    @cached_property
    def _checked(self) -> Checked:
        check = Check(self.tables, look=self.images != "drop")
        check.read(keys=self.fractions.validation > 0 or self.fractions.test > 0)
        check.compare()
        bad = check.bad()
        if self.on_bad_record == "error":
            refuse(bad, len(check.places))
        return Checked(check.splits(self.fractions), bad, check.unread())
