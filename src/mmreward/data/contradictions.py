"""Rows that prefer opposite answers for the same prompt and images."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable

import numpy as np

from mmreward.records import Record


class Preferences:
    """Collects every preference of a table, 24 bytes each, to find those that contradict.

    Images are compared by their hashes, but only where prompt and answers already contradict:
    for most tables no image file is read for it.
    """

    def __init__(self) -> None:
        self._rows = array("q")
        self._keys = array("Q")
        self._forward = array("b")

    def add(self, row: int, record: Record) -> None:
        """Notes the pairs of a record; `row` is any number that names it."""
        for content, forward in _contents(record):
            self._rows.append(row)
            digest = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8)
            self._keys.append(int.from_bytes(digest.digest()))
            self._forward.append(forward)

    def contradictions(self, record_of: Callable[[int], Record]) -> dict[int, int]:
        """row -> another row that says the opposite. Both are in it: neither is known to be
        the one that is wrong.

        record_of: gives a row's record again
        """
        if not self._keys:
            return {}
        rows, forward = np.asarray(self._rows), np.asarray(self._forward, dtype=bool)
        _, group = np.unique(np.asarray(self._keys), return_inverse=True)
        size = int(group.max()) + 1
        both = (np.bincount(group, forward, size) > 0) & (np.bincount(group, ~forward, size) > 0)
        suspects: dict[str, dict[bool, list[int]]] = {}
        for row in sorted(set(rows[both[group]].tolist())):
            record = record_of(row)
            images = [media.sha256 for media in record.media]
            for content, direction in _contents(record):
                sides = suspects.setdefault(f"{images} {content}", {True: [], False: []})
                sides[direction].append(row)
        found: dict[int, int] = {}
        for sides in suspects.values():
            for direction, members in sides.items():
                for row in members:
                    for other in sides[not direction][:1]:
                        found.setdefault(row, other)
        return found


def _contents(record: Record) -> list[tuple[str, bool]]:
    """Per pair: prompt and both answers in alphabetical order, and whether the first is better."""
    messages = [[m.role, m.content] for m in record.messages]
    contents = []
    for pair in record.pairs:
        better, worse = (record.responses[i].text for i in (pair.better, pair.worse))
        low, high = sorted((better, worse))
        contents.append((json.dumps([messages, low, high]), better == low))
    return contents
