"""What every source of records offers. One class per on-disk format, one yaml per class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any, Literal, Self

from mmreward.data.bad_records import BadRecord
from mmreward.data.transforms import Transform
from mmreward.records import Record

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Source(ABC):
    """Yields the records of a data set, split by split.

    name:      the benchmark name its test split gets in reports
    block:     how many consecutive training records stay together: those of a contrast set
               (Gardner et al., arXiv:2004.02709: the same words about different images). Training
               shuffles the sets and not the records, so that one batch holds both sides and
               whatever does not depend on the image cancels in its gradient.
    transform: what is done to every record, once, in `split`
    """

    name: str
    block: int = 1
    transform: Transform = Transform()

    @property
    def bad_records(self) -> list[BadRecord]:
        """Rows that were left out; a source that draws its own records leaves out nothing."""
        return []

    @property
    def unread_columns(self) -> list[str]:
        """Columns that are in the rows but are no field of a record."""
        return []

    def through(self, transform: Transform) -> Self:
        """The same source with another transform."""
        other = copy(self)
        other.transform = transform
        return other

    def split(self, split: Split) -> Sequence[Record]:
        """The records of a split as a model gets them."""
        records = self.records(split)
        if self.transform == Transform():
            return records
        return LazyRecords(len(records), partial(_changed, self.transform, records, split))

    @abstractmethod
    def records(self, split: Split) -> Sequence[Record]:
        """The records as they are on disk or drawn; the sequence may be lazy, as long as item i is
        the same record every time it is asked for (a resumed run must see what the interrupted
        one would have seen)."""


def _changed(transform: Transform, records: Sequence[Record], split: Split, number: int) -> Record:
    return transform(records[number], split)


class LazyRecords(Sequence[Record]):
    """`length` records, record i made by `make(i)` each time it is asked for."""

    def __init__(self, length: int, make: Callable[[int], Record]) -> None:
        self._numbers = range(length)
        self._make = make

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:  # a record, or a list of them for a slice
        if isinstance(index, slice):
            return [self._make(number) for number in self._numbers[index]]
        return self._make(self._numbers[index])
