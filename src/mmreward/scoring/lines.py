"""The lines of records.jsonl, scores.jsonl and verdicts.jsonl: what one of them must hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmreward.errors import UserError

RECORDS = "records.jsonl"
SCORES = "scores.jsonl"
VERDICTS = "verdicts.jsonl"

# What a line must hold, its types and their name in a message; then what it may hold.
_TEXT, _TEXT_OR_NULL, _LIST = (str, "a text"), (str | None, "a text or null"), (list, "a list")
_WHOLE, _WHOLE_OR_NULL = (int, "a whole number"), (int | None, "a whole number or null")
Fields = dict[str, tuple[Any, str]]
FIELDS: dict[str, Fields] = {
    RECORDS: {
        "record": _TEXT,
        "benchmark": _TEXT,
        "split": _TEXT,
        "category": _TEXT_OR_NULL,
        "group": _TEXT_OR_NULL,
        "answers": _LIST,
        "pairs": _LIST,
    },
    SCORES: {
        "record": _TEXT,
        "answer": _WHOLE,
        "condition": _TEXT,
        "score": (int | float, "a number"),
    },
    VERDICTS: {
        "record": _TEXT,
        "first": _WHOLE,
        "second": _WHOLE,
        "condition": _TEXT,
        "verdict": _WHOLE_OR_NULL,
    },
}
OPTIONAL: dict[str, Fields] = {
    RECORDS: {"prompt": _TEXT_OR_NULL, "media": _LIST, "ties": _LIST},
    SCORES: {},
    VERDICTS: {
        "sample": _WHOLE,
        "completion_tokens": _WHOLE_OR_NULL,
        "stop": _TEXT_OR_NULL,
        "text": _TEXT_OR_NULL,
    },
}
ANSWER: Fields = {"chars": _WHOLE, "newlines": _WHOLE}
OPTIONAL_ANSWER: Fields = {"text": _TEXT_OR_NULL, "tokens": _WHOLE_OR_NULL}
MEDIA: Fields = {"sha256": _TEXT_OR_NULL, "path": _TEXT_OR_NULL}


class Key(NamedTuple):
    """What a score belongs to."""

    record: str
    answer: int
    condition: str


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one of the files, blank lines and a last one that was cut short left out.

    Raises UserError for a file that cannot be read and a line that is not what it should be.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        raise UserError(
            f"{path} cannot be read; is {path.parent} the folder of a run that was evaluated?"
        ) from None
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            if path.name != RECORDS and number == len(lines):
                return  # an evaluation was killed while it wrote
            raise UserError(f"{path} line {number} is not JSON ({error})") from None
        problem = _problem(row, FIELDS[path.name], OPTIONAL[path.name])
        if problem is None and path.name == RECORDS:
            problem = _record_problem(row)
        if problem:
            raise UserError(f"{path} line {number} has {problem}")
        yield row


def _problem(row: Any, fields: Fields, optional: Fields) -> str | None:
    """What a row has that it should not, or lacks."""
    if not isinstance(row, dict):
        return f"{row!r} where an object should be"
    for field, (kinds, what) in {**fields, **optional}.items():
        if field not in row:
            if field in fields:
                return f"no {field!r}"
        elif not isinstance(row[field], kinds) or isinstance(row[field], bool):
            return f"the {field} {row[field]!r}, which should be {what}"
    return None


def _record_problem(row: Mapping[str, Any]) -> str | None:
    for answer in row["answers"]:
        if problem := _problem(answer, ANSWER, OPTIONAL_ANSWER):
            return f"an answer with {problem}"
    for media in row.get("media", ()):
        if problem := _problem(media, MEDIA, {}):
            return f"an image with {problem}"
    count = len(row["answers"])
    for kind in ("pairs", "ties"):
        for pair in row.get(kind, ()):
            if not isinstance(pair, list) or [type(i) for i in pair[:2]] != [int, int]:
                return f"{pair!r} among its {kind}, which should be two numbers of answers"
            if pair[0] == pair[1] or not all(0 <= i < count for i in pair[:2]):
                return f"{pair!r} among its {kind} but {count} answers (0 is the first)"
    return None


def key_of(row: Mapping[str, Any]) -> Key:
    """That of a line of scores.jsonl."""
    return Key(row["record"], row["answer"], row["condition"])


def key_name(key: Key) -> str:
    """What a message calls it."""
    return f"answer {key.answer} of record {key.record} under {key.condition!r}"


def whole_lines(path: Path) -> None:
    """Cuts off what a killed process left of a last line."""
    with path.open("rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def json_line(row: Mapping[str, Any]) -> str:
    """A line for one of the files."""
    # ASCII escapes: answers may hold lone surrogates, which no UTF-8 file can.
    return json.dumps(row, allow_nan=False) + "\n"
