"""One table into train, validation and test, with no image or prompt on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmreward.data.sources.base import Split
from mmreward.errors import UserError


@dataclass(frozen=True)
class Fractions:
    """Which part of the rows is held out.

    validation, test: fractions of the rows, 0 for none
    seed:             of the choice

    Raises UserError for fractions below 0 or that leave nothing to train on.
    """

    validation: float
    test: float
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise UserError(
                f"data.source.validation={self.validation} and data.source.test={self.test} must "
                "be fractions of the rows, 0 or more, that leave some for training"
            )


def connected(keys: Sequence[Collection[str]]) -> np.ndarray:
    """(n,) labels: rows get the same one if they share a key, directly or through other rows.

    keys: per row, one or more names (image hashes, say)
    """
    numbers: dict[str, int] = {}
    rows, columns = [], []
    for row, names in enumerate(keys):
        for name in names:
            rows.append(row)
            columns.append(len(keys) + numbers.setdefault(name, len(numbers)))
    size = len(keys) + len(numbers)
    edges = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(size, size))
    labels: np.ndarray = connected_components(edges, directed=False)[1]
    return labels[: len(keys)]


def split_rows(keys: Sequence[Collection[str]], fractions: Fractions) -> list[Split]:
    """The split of every row. Rows connected by keys go together.

    Groups are taken in an order that depends on the seed and their keys alone, not on the order
    of the rows; each goes to the first of validation and test that has room for all of it, else
    to train. Held-out splits are therefore never larger than asked for, and a group larger than
    a whole held-out split (one prompt in a third of all rows) is trained on.

    Raises UserError if a fraction above 0 leaves its split empty.
    """
    groups: dict[int, list[int]] = {}
    for row, label in enumerate(connected(keys).tolist()):
        groups.setdefault(label, []).append(row)

    def order(rows: list[int]) -> bytes:
        name = min(min(keys[row]) for row in rows)
        return hashlib.blake2b(f"{fractions.seed} {name}".encode()).digest()

    wanted: dict[Split, float] = {"validation": fractions.validation, "test": fractions.test}
    room = {s: max(1, round(part * len(keys))) if part else 0 for s, part in wanted.items()}
    result: list[Split] = ["train"] * len(keys)
    for rows in sorted(groups.values(), key=order):
        for split in room:
            if len(rows) <= room[split]:
                room[split] -= len(rows)
                for row in rows:
                    result[row] = split
                break
    for split, part in wanted.items():
        if part > 0 and split not in result:
            raise UserError(
                f"data.source.{split}={part} of {len(keys)} rows leaves the {split} split empty "
                f"(rows that share an image or prompt stay together, {len(groups)} groups); raise "
                f"it, or give data.source.{split}_path"
            )
    return result
