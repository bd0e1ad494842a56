"""sweep.json: what became of every job of a sweep, for those who come after it.

{"name": …, "jobs": [{job, overrides, folder, status, reason, returned, seconds, log}, …]}

name: what the sweep's runs are tagged with; it stays when the folder is moved
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from mmreward.errors import UserError
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


def write_sweep(folder: Path, name: str, rows: Sequence[Row]) -> None:
    """The whole file or none: it may be read at any moment."""
    content = json.dumps({"name": name, "jobs": rows}, indent=1, ensure_ascii=False)
    replace_file(folder / SWEEP_FILE, content + "\n")


def read_sweep(folder: Path) -> list[Row] | None:
    """The jobs of the sweep in `folder`; None if its launcher keeps no list.

    Raises UserError if the list cannot be read.
    """
    content = _read(folder)
    return None if content is None else content["jobs"]


def read_name(folder: Path) -> str | None:
    """What the runs of the sweep in `folder` are tagged with; None if nothing says so."""
    content = _read(folder)
    return None if content is None else content.get("name")


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / SWEEP_FILE
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content["jobs"], list):
            return content
    except (ValueError, TypeError, KeyError):
        pass
    raise UserError(
        f"{path} cannot be read; delete it, and the same line with hydra.sweep.dir={folder} "
        "writes it anew"
    )
