"""Files of measurements over time in a run folder: JSON lines of step, time and values."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# What training logged, and what the machine did meanwhile (written by a tracker).
CURVES = "curves.jsonl"
SYSTEM = "system.jsonl"


def milliseconds() -> int:
    """The present time, since 1970, as trackers store it."""
    return int(time.time() * 1000)


def append_row(path: Path, step: int, values: Mapping[str, float]) -> None:
    """Adds a line with the present time, after a half-written one (of a run that was killed) a
    line of its own.

    Values that are no numbers (an overflow under half precision) are left out: JSON has no form
    for them. The others come by name, so that trackers show them in one order.
    """
    finite = {name: values[name] for name in sorted(values) if math.isfinite(values[name])}
    line = json.dumps({"step": step, "time": milliseconds(), **finite}) + "\n"
    with path.open("ab+") as file:
        if file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n":
            line = "\n" + line
        file.write(line.encode())


def read_rows(path: Path, begin: int = 0) -> tuple[list[dict[str, Any]], int]:
    """(the rows from byte `begin` on, the byte to go on from next time).

    A line without an end is still being written; one that cannot be read never was finished.
    """
    if not path.is_file():
        return [], begin
    with path.open("rb") as file:
        file.seek(begin)
        content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    return list(_parsed(whole)), begin + len(whole)


def _parsed(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            yield row
