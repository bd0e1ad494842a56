"""What evaluation asks of whatever yields preferences: rewards of answers, or verdicts.

A model of this project, a policy's log-probabilities, a judge or a program behind an address meet
evaluation, controls, reports and comparisons through one of the two classes below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from mmreward.records import Record, RecordError
from mmreward.scoring.verdicts import Verdict, VerdictKey


@dataclass(frozen=True, eq=False)
class Shown:
    """A record of an evaluated set, and how it is shown under each condition that is asked for.

    views: {condition: the record as it is shown}; the very same object under several conditions
           where they leave it as it is
    """

    record: Record
    views: Mapping[str, Record]


@dataclass(frozen=True, eq=False)
class Question:
    """Which of two answers is better, asked once.

    key: the condition, which of the answers is shown first and which second, and the number of the
         sampled completion
    """

    shown: Shown
    key: VerdictKey

    @property
    def record(self) -> Record:
        """As it is shown."""
        return self.shown.views[self.key.condition]


class Scorer(Protocol):
    """What both have in common.

    meta:       what scores.meta.json says of it: scores of two must not share a table
    conditions: those it can be asked under (see mmreward.scoring.conditions)
    """

    meta: Mapping[str, Any]
    conditions: Sequence[str]

    def tokens(self, text: str) -> int | None:
        """How many tokens an answer has for it; None if that is not known."""
        ...


@runtime_checkable
class Rewards(Scorer, Protocol):
    """Gives every answer a number, higher is better."""

    def rewards(
        self, chunks: Sequence[Sequence[Shown]]
    ) -> Iterator[tuple[Shown, str, list[float] | RecordError]]:
        """(record, condition, a reward for each of its answers, or why it has none), for every
        view. What is scored together must depend on its chunk alone: then an evaluation that was
        interrupted finds the same numbers, to the last digit."""
        ...


@runtime_checkable
class Verdicts(Scorer, Protocol):
    """Says which of two answers is better.

    samples: how often each question is asked
    """

    samples: int

    def verdicts(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Verdict]]:
        """An answer to every question, in any order, as they come."""
        ...
