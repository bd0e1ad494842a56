"""A short name for the content of a data set."""

from __future__ import annotations

import hashlib

from mmreward.data.sources.base import SPLITS, Source
from mmreward.records import RecordError

LOOKED_AT = 32


def data_digest(source: Source) -> str:
    """16 hex digits that differ where data differ: in the number of records of a split, or in
    any of `LOOKED_AT` records (prompt, answers, ranks, images) spread evenly over each split.

    Not every record is looked at: a split may be lazy and hold millions.
    """
    digest = hashlib.sha256()
    for name in SPLITS:
        records = source.split(name)
        count = len(records)
        digest.update(f"{name} {count}\n".encode())
        for number in range(min(LOOKED_AT, count)):
            place = number * (count - 1) // max(min(LOOKED_AT, count) - 1, 1)
            try:
                digest.update(f"{records[place].id}\n".encode())
            except RecordError as error:  # found and told when it is used
                digest.update(f"{error}\n".encode())
    return digest.hexdigest()[:16]
