"""sweep.json: what became of every job of a sweep, for those who come after it.

{"jobs": [{job, overrides, folder, status, reason, returned, seconds, log}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from mmreward.files import replace_file

SWEEP_FILE = "sweep.json"

Status = Literal["waiting", "running", "done", "done before", "failed", "interrupted"]

# The statuses of jobs that left a result; "before" is in an earlier launch of the same sweep.
DONE: tuple[Status, ...] = ("done", "done before")


class Row(TypedDict):
    """A job.

    job:      its number
    folder:   relative to where the sweep was started, unless its folder is absolute; so is `log`
    reason:   why it was not done, one sentence; else ""
    returned: what the task returned
    """

    job: int
    overrides: list[str]
    folder: str
    status: Status
    reason: str
    returned: Any
    seconds: float | None
    log: str


def write_sweep(folder: Path, rows: Sequence[Row]) -> None:
    """The whole file or none: it may be read at any moment."""
    content = json.dumps({"jobs": rows}, indent=1, ensure_ascii=False)
    replace_file(folder / SWEEP_FILE, content + "\n")


def read_sweep(folder: Path) -> list[Row] | None:
    """The jobs of the sweep in `folder`; None if its launcher keeps no list."""
    path = folder / SWEEP_FILE
    if not path.is_file():
        return None
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["jobs"]
    return rows
