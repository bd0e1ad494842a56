"""What every source of records offers. One class per on-disk format, one yaml per class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, overload

from mmreward.records import Record

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Source(Protocol):
    """Yields the records of a data set, split by split.

    `name` is the benchmark name its test split gets in reports. `split` may return a lazy
    sequence, as long as item i is the same record every time it is asked for (a resumed run
    must see what the interrupted one would have seen).

    A source whose records come in contrast sets (Gardner et al., arXiv:2004.02709: the same words
    about different images) may say how many in an attribute `block`; training then shuffles the
    sets and not the records, so that one batch holds both sides and whatever does not depend on
    the image cancels in its gradient.
    """

    name: str

    def split(self, split: Split) -> Sequence[Record]: ...


class LazyRecords(Sequence[Record]):
    """`length` records, record i made by `make(i)` each time it is asked for."""

    def __init__(self, length: int, make: Callable[[int], Record]) -> None:
        self._numbers = range(length)
        self._make = make

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        if isinstance(index, slice):
            return [self._make(number) for number in self._numbers[index]]
        return self._make(self._numbers[index])
