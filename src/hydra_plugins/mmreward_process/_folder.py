"""What a sweep keeps on disk, beside `mmreward.sweep_file`.

<sweep>/<job>/job.json     what runs here: number, overrides, folder; written before the job starts
<sweep>/<job>/console.log  everything the job printed, in all its tries
<sweep>/<job>/result.json  overrides, what the task returned, seconds; written last, at once
<sweep>/<job>/metrics.json where a job leaves its benchmarks' accuracies, if it does
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmreward.files import replace_file

JOB, RESULT, LOG, METRICS = "job.json", "result.json", "console.log", "metrics.json"

Known = dict[tuple[str, ...], list[tuple[int, Path]]]


def write_job(sweep: Path, folder: Path, number: int, overrides: Sequence[str]) -> None:
    """Says that `folder` belongs to a job of this sweep."""
    content = {"number": number, "overrides": list(overrides), "folder": _place(folder, sweep)}
    _write(folder / JOB, content)


def known_jobs(sweep: Path) -> Known:
    """{overrides: (number, folder) of each job that had them} of this sweep's earlier launches."""
    found: Known = defaultdict(list)
    for path in sweep.rglob(JOB):
        job = _read(path)
        # A sweep may lie below another one, and other programs write a job.json as well.
        if job and job.get("folder") == _place(path.parent, sweep):
            found[tuple(job["overrides"])].append((job["number"], path.parent))
    for jobs in found.values():
        jobs.sort()
    return found


def _place(folder: Path, sweep: Path) -> str:
    """Where a job lies in its sweep, wherever that lies."""
    return Path(os.path.relpath(folder, sweep)).as_posix()


def write_result(folder: Path, overrides: Sequence[str], returned: Any, seconds: float) -> None:
    """Says that the job in `folder` is finished. `returned` must be what JSON can hold."""
    content = {"overrides": list(overrides), "returned": returned, "seconds": round(seconds, 2)}
    _write(folder / RESULT, content)


def read_result(folder: Path, overrides: Sequence[str]) -> dict[str, Any] | None:
    """The result of a finished job with these overrides; None if there is none or half of one."""
    result = _read(folder / RESULT)
    return result if result and result.get("overrides") == list(overrides) else None


def read_accuracy(folder: Path) -> float | None:
    """On the first benchmark that the job in `folder` was scored on; None if it was on none."""
    benchmarks = (_read(folder / METRICS) or {}).get("benchmarks")
    first = next(iter(benchmarks.values()), None) if isinstance(benchmarks, dict) else None
    accuracy = first.get("accuracy") if isinstance(first, dict) else None
    return accuracy if isinstance(accuracy, float) else None


def _write(path: Path, content: Any) -> None:
    replace_file(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def size(log: Path) -> int:
    """Bytes that are there already."""
    return log.stat().st_size if log.is_file() else 0


def last_line(log: Path, begin: int) -> str:
    """The last line from byte `begin` on with something on it: what an exception says."""
    try:
        with log.open("rb") as file:
            file.seek(max(begin, size(log) - 4000))
            end = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in end.splitlines() if line.strip()]
    return lines[-1] if lines else ""
