"""The name of a data set's content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from helpers import image, record

from mmreward.data.digest import LOOKED_AT, data_digest
from mmreward.data.sources.base import Split
from mmreward.records import Record, RecordError


class Data:
    name = "trial"

    def __init__(self, train: Sequence[Record], test: Sequence[Record]) -> None:
        self.splits = {"train": train, "validation": [], "test": test}

    def split(self, split: Split) -> Sequence[Record]:
        return self.splits[split]


RECORDS = [record(0, f"Question {i}?", media=(image(seed=i),)) for i in range(100)]


def test_the_same_data_have_the_same_digest() -> None:
    assert data_digest(Data(RECORDS, RECORDS[:5])) == data_digest(Data(list(RECORDS), RECORDS[:5]))


SWAPPED = replace(RECORDS[0], responses=RECORDS[0].responses[::-1])


@pytest.mark.parametrize(
    "other",
    [
        Data(RECORDS[:-1], RECORDS[:5]),
        Data(RECORDS, RECORDS[5:10]),
        Data(RECORDS, RECORDS[:4]),
        Data(RECORDS[:5], RECORDS),
        Data([*RECORDS[:99], replace(RECORDS[99], media=(image(seed=1),))], RECORDS[:5]),
        Data(
            [replace(RECORDS[0], responses=RECORDS[0].responses[::-1]), *RECORDS[1:]], RECORDS[:5]
        ),
    ],
    ids=["fewer", "other test", "smaller test", "exchanged", "another image", "another answer"],
)
def test_other_data_have_another(other: Data) -> None:
    assert data_digest(other) != data_digest(Data(RECORDS, RECORDS[:5]))


def test_a_large_split_is_not_walked_through() -> None:
    class Lazy(Sequence[Record]):
        asked = 0

        def __len__(self) -> int:
            return 10_000_000

        def __getitem__(self, index: int) -> Record:  # type: ignore[override]
            Lazy.asked += 1
            return RECORDS[index % 100]

    data_digest(Data(Lazy(), []))
    assert Lazy.asked == LOOKED_AT


def test_a_record_that_cannot_be_read_is_no_error_here() -> None:
    class Broken(list[Record]):
        def __getitem__(self, index: int) -> Record:  # type: ignore[override]
            raise RecordError("row 3 is broken")

    assert data_digest(Data(Broken(RECORDS), [])) != data_digest(Data(RECORDS, []))
