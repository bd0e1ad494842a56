"""verdicts.jsonl: what a judge said of two answers, and the scores that follow from it.

One line per (record, first, second, condition, sample), appended as it goes:

first, second       the answers' numbers, in the order they were shown
verdict             1 or 2, the better of the two as shown; null if there is none
parsed              whether the completion was in the form that was asked for
completion_tokens, stop, text    of the completion, where known

Of each order the majority of its parsed verdicts counts; a draw, or none, is no verdict. A pair's
outcome is 1 or 0 where the orders it was asked in agree, else one half. An answer's score is the
mean of its pairs' outcomes; accuracy reads the outcomes, which for more than two answers say more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from mmreward.errors import UserError
from mmreward.records import Record
from mmreward.scoring.lines import VERDICTS, json_line, read_lines, whole_lines


class VerdictKey(NamedTuple):
    """What a verdict belongs to."""

    record: str
    first: int
    second: int
    condition: str
    sample: int = 0


@dataclass(frozen=True)
class Verdict:
    """A line's content; see the module."""

    verdict: int | None
    parsed: bool = True
    completion_tokens: int | None = None
    stop: str | None = None
    text: str | None = None


# {(record, condition): {(answer, other answer): outcome of the first of the two}}
Outcomes = dict[tuple[str, str], dict[tuple[int, int], float]]


class VerdictWriter:
    """Appends to verdicts.jsonl; `verdicts` holds what is there. A context manager."""

    def __init__(self, folder: Path) -> None:
        self.verdicts = read_verdicts(folder, cut=True)
        self._file = (folder / VERDICTS).open("a", encoding="utf-8")

    def write(self, key: VerdictKey, verdict: Verdict) -> None:
        """Writes one line, or leaves the one that is there: an answer is paid for once."""
        if key not in self.verdicts:
            self._file.write(json_line({**key._asdict(), **asdict(verdict)}))
            self._file.flush()
            self.verdicts[key] = verdict

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def read_verdicts(folder: Path, cut: bool = False) -> dict[VerdictKey, Verdict]:
    """A folder's verdicts; none without the file. cut: a line left unfinished is removed.

    Raises UserError for a line that is not what it should be, and a verdict written twice.
    """
    path = folder / VERDICTS
    if not path.exists():
        return {}
    if cut:
        whole_lines(path)
    found: dict[VerdictKey, Verdict] = {}
    for row in read_lines(path):
        key, verdict = _parts(row)
        if key in found:
            raise UserError(f"{path} holds {key} twice; remove one of the lines")
        found[key] = verdict
    return found


def _parts(row: Mapping[str, Any]) -> tuple[VerdictKey, Verdict]:
    key = VerdictKey(
        row["record"], row["first"], row["second"], row["condition"], row.get("sample", 0)
    )
    fields = {name: row.get(name) for name in ("completion_tokens", "stop", "text")}
    return key, Verdict(row["verdict"], bool(row.get("parsed", True)), **fields)


def questions(record: Record, condition: str, samples: int) -> Iterator[VerdictKey]:
    """Every pair of a record's answers in both orders, `samples` times."""
    for first, second in permutations(range(len(record.responses)), 2):
        for sample in range(samples):
            yield VerdictKey(record.id, first, second, condition, sample)


def outcomes(verdicts: Mapping[VerdictKey, Verdict]) -> Outcomes:
    """What became of every pair that was asked about."""
    # For each order, votes for the answer shown first minus those for the other.
    orders: dict[VerdictKey, int] = defaultdict(int)
    for key, verdict in verdicts.items():
        vote = {1: 1, 2: -1}.get(verdict.verdict or 0, 0) if verdict.parsed else 0
        orders[key._replace(sample=0)] += vote
    asked: dict[tuple[str, str], dict[tuple[int, int], list[int]]] = defaultdict(dict)
    for key, votes in orders.items():
        swapped = key.first > key.second
        pair = (key.second, key.first) if swapped else (key.first, key.second)
        of_pair = asked[key.record, key.condition].setdefault(pair, [])
        of_pair.append(-votes if swapped else votes)
    found: Outcomes = {}
    for place, pairs in asked.items():
        of_record = found[place] = {}
        for (low, high), margins in pairs.items():
            won, lost = all(m > 0 for m in margins), all(m < 0 for m in margins)
            of_record[low, high] = 1.0 if won else 0.0 if lost else 0.5
            of_record[high, low] = 1 - of_record[low, high]
    return found


def answer_scores(pairs: Mapping[tuple[int, int], float], answers: int) -> list[float]:
    """The mean outcome of each answer over the pairs it was in; one half for one in no pair.

    >>> answer_scores({(0, 1): 1.0, (1, 0): 0.0}, 2)
    [1.0, 0.0]
    """
    scores = []
    for answer in range(answers):
        own = [outcome for (first, _), outcome in pairs.items() if first == answer]
        scores.append(sum(own) / len(own) if own else 0.5)
    return scores
