"""What a sweep keeps on disk.

<sweep>/sweep.json         every job of the last launch: overrides, status, result, seconds, log
<sweep>/<job>/job.json     what runs here: number and overrides, written before the job starts
<sweep>/<job>/console.log  everything the job printed
<sweep>/<job>/result.json  overrides, what the task returned, seconds; written last, at once
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmreward.files import replace_file

SWEEP, JOB, RESULT, LOG = "sweep.json", "job.json", "result.json", "console.log"


def write_json(path: Path, content: Any) -> None:
    """The whole file or none: a reader never sees half of it."""
    replace_file(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_result(folder: Path, overrides: Sequence[str], returned: Any, seconds: float) -> None:
    """Says that the job in `folder` is finished. `returned` must be what JSON can hold."""
    content = {"overrides": list(overrides), "returned": returned, "seconds": round(seconds, 2)}
    write_json(folder / RESULT, content)


def read_result(folder: Path, overrides: Sequence[str]) -> dict[str, Any] | None:
    """The result of a finished job with these overrides; None if there is none or half of one."""
    result = _read(folder / RESULT)
    return result if result and result.get("overrides") == list(overrides) else None


def known_jobs(sweep: Path) -> dict[tuple[str, ...], tuple[int, Path]]:
    """{overrides: (number, folder)} of the jobs that ran in this sweep folder before."""
    found = {}
    for path in sweep.rglob(JOB):
        if job := _read(path):
            found[tuple(job["overrides"])] = (job["number"], path.parent)
    return found


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def last_line(log: Path) -> str:
    """The last line with something on it: what an exception says."""
    try:
        end = log.read_bytes()[-4000:].decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in end.splitlines() if line.strip()]
    return lines[-1] if lines else ""
