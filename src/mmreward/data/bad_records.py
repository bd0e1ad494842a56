"""Rows that cannot be used: stop at them, or leave them out and say so."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmreward.errors import UserError
from mmreward.records import RecordError

FILE = "bad_records.jsonl"
POLICIES = ("error", "skip")


@dataclass(frozen=True)
class BadRecord:
    """where: file and row, or the record's id; reason: why it cannot be used."""

    where: str
    reason: str


def check_policy(on_bad_record: str) -> str:
    """`on_bad_record` if there is such a policy, else UserError."""
    if on_bad_record not in POLICIES:
        raise UserError(
            f"data.on_bad_record={on_bad_record} should be error, to stop at a bad row, or skip, "
            "to leave it out"
        )
    return on_bad_record


def refuse(bad: Sequence[BadRecord], rows: int) -> None:
    """RecordError that names the first of `bad`, if there is one, and counts the others."""
    if bad:
        others = f" ({len(bad)} of {rows} rows are bad)" if len(bad) > 1 else ""
        raise RecordError(
            f"{bad[0].where}: {bad[0].reason}{others}; put it right, or leave bad rows out with "
            "data.on_bad_record=skip"
        )


def reasons(bad: Sequence[BadRecord]) -> dict[str, tuple[int, str]]:
    """Reason -> (how often, the first as "where: reason"), most frequent first. Reasons that
    differ in numbers, paths and names in quotes alone are one, with … where they differ."""
    alike: dict[str, list[BadRecord]] = {}
    for one in bad:
        masked = re.sub(r"\d+|'[^']*'|\"[^\"]*\"|\S*/\S*", "…", one.reason)
        alike.setdefault(masked, []).append(one)
    return {
        _common([one.reason for one in found], masked): (
            len(found),
            f"{found[0].where}: {found[0].reason}",
        )
        for masked, found in sorted(alike.items(), key=lambda item: -len(item[1]))
    }


def _common(texts: Sequence[str], masked: str) -> str:
    """The words that all the texts share in their places, … for the others."""
    words = [text.split() for text in texts]
    if len({len(one) for one in words}) > 1:
        return masked
    return " ".join(
        column[0] if len(set(column)) == 1 else "…" for column in zip(*words, strict=True)
    )


def write_bad_records(folder: Path, bad: Sequence[BadRecord]) -> str:
    """Adds those that are not there yet to bad_records.jsonl of a run folder.

    Returns one line for the screen, empty if the file would be.
    """
    known = set(read_bad_records(folder))
    append_bad_records(folder, [one for one in dict.fromkeys(bad) if one not in known])
    return left_out(folder)


def append_bad_records(folder: Path, bad: Sequence[BadRecord]) -> None:
    """Adds lines to bad_records.jsonl of a run folder; no file where there is nothing to add."""
    if bad:
        with (folder / FILE).open("a") as file:
            file.writelines(json.dumps(asdict(one)) + "\n" for one in bad)


def left_out(folder: Path) -> str:
    """One line for the screen: how many bad records the run folder lists; empty for none."""
    total = len(read_bad_records(folder))
    path = folder / FILE
    return f"left out: {total:,} bad records, listed with reasons in {path}" if total else ""


def read_bad_records(folder: Path) -> list[BadRecord]:
    """What bad_records.jsonl of a run folder lists, each once; nothing if there is no such file."""
    path = folder / FILE
    if not path.is_file():
        return []
    rows = [BadRecord(**json.loads(line)) for line in path.read_text().splitlines()]
    return list(dict.fromkeys(rows))
