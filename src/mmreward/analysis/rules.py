"""Rules that need no model. Whatever they get right says nothing about taste or images, so their
accuracy stands beside every model's.

A rule takes a row of records.jsonl and gives each of its answers a score, higher is better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
Rule = Callable[[Row], list[float]]


def longer(row: Row) -> list[float]:
    """The answer with more characters."""
    return [float(answer["chars"]) for answer in row["answers"]]


def shorter(row: Row) -> list[float]:
    """The answer with fewer characters."""
    return [-chars for chars in longer(row)]


def newlines(row: Row) -> list[float]:
    """The answer with more line breaks: formatting alone decides 62.5 % of VL-RewardBench."""
    return [float(answer["newlines"]) for answer in row["answers"]]


def random(row: Row) -> list[float]:
    """A score drawn uniformly from [0, 1) by the record's id, so that it never changes."""
    return [_uniform(f"{row['record']}/{index}") for index in range(len(row["answers"]))]


def first(row: Row) -> list[float]:
    """The answer that the data lists first: shows labels that follow the order."""
    return [-float(index) for index in range(len(row["answers"]))]


RULES: dict[str, Rule] = {
    "longer": longer,
    "shorter": shorter,
    "newlines": newlines,
    "random": random,
    "first": first,
}
# What can be followed from the texts alone. A model that scores answers one by one never sees
# their order, so `first` matters to judges only.
TEXT_RULES = ("longer", "shorter", "newlines")


def _uniform(text: str) -> float:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
