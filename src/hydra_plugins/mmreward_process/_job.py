"""One job and its process, as the launcher sees them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra_plugins.mmreward_process._child import Order, run
from hydra_plugins.mmreward_process._folder import (
    JOB,
    LOG,
    RESULT,
    last_line,
    read_result,
    write_json,
)
from hydra_plugins.mmreward_process._server import CONTEXT

Status = Literal["waiting", "running", "done", "done before", "failed", "interrupted"]

# Seconds between asking a job to end, so that its tracking can be closed, and ending it.
GRACE = 5.0


@dataclass
class Job:
    """number: names the folder unless the sweep says otherwise; label: the overrides that vary."""

    number: int
    overrides: list[str]
    folder: Path
    argv: list[str]
    content: bytes
    label: str = ""
    status: Status = "waiting"
    reason: str = ""
    seconds: float | None = None
    returned: Any = None

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def failed(self) -> bool:
        return self.status in ("failed", "interrupted")

    def skip_if_finished(self) -> None:
        if result := read_result(self.folder, self.overrides):
            self.status = "done before"
            self.returned, self.seconds = result["returned"], result["seconds"]

    def row(self) -> dict[str, Any]:
        """The job's part of sweep.json."""
        return {
            "job": self.number,
            "overrides": self.overrides,
            "folder": str(self.folder),
            "status": self.status,
            "reason": self.reason,
            "returned": self.returned,
            "seconds": self.seconds,
            "log": str(self.log),
        }


class Running:
    """A job with its process and the group that this leads.

    timeout: seconds, None for ever
    """

    def __init__(
        self, job: Job, environment: dict[str, str], threads: int | None, timeout: float | None
    ) -> None:
        self.job = job
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / RESULT).unlink(missing_ok=True)  # half of one, if any
        write_json(job.folder / JOB, {"number": job.number, "overrides": job.overrides})
        order = Order(
            job.folder, job.log, job.overrides, job.argv, environment, threads, job.content
        )
        self._process = CONTEXT.Process(target=run, args=(order,), name=f"job {job.number}")
        self._began = time.monotonic()
        self._timeout = timeout
        self._ask_at = None if timeout is None else self._began + timeout
        self._kill_at: float | None = None
        self._process.start()
        job.status = "running"

    @property
    def sentinel(self) -> int:
        """Becomes readable when the process ends."""
        return self._process.sentinel

    @property
    def next_at(self) -> float | None:
        """When `tend` has something to do even if the process does not end, on the monotonic
        clock."""
        return self._kill_at or self._ask_at

    def tend(self) -> bool:
        """Ends a process whose time is over; whether the job has ended."""
        now = time.monotonic()
        if self._process.exitcode is not None:
            self._conclude(self._process.exitcode)
            return True
        if self._kill_at is not None and now >= self._kill_at:
            self._signal(signal.SIGKILL)
        elif self._kill_at is None and self._ask_at is not None and now >= self._ask_at:
            self.interrupt("failed", f"not finished after {self._timeout:g} s")
        return False

    def interrupt(self, status: Status, reason: str) -> None:
        """Asks the job to end as Ctrl-C would; `tend` kills it when it does not."""
        self.job.status, self.job.reason = status, reason
        self._kill_at = time.monotonic() + GRACE
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        assert self._process.pid is not None
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:  # it has not become the leader of a group yet, or has ended
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _conclude(self, code: int) -> None:
        job = self.job
        assert self._process.pid is not None
        with suppress(ProcessLookupError):  # ranks and workers that outlived the job
            os.killpg(self._process.pid, signal.SIGKILL)
        job.seconds = round(time.monotonic() - self._began, 2)
        result = read_result(job.folder, job.overrides)
        if result:
            job.status, job.reason = "done", ""
            job.returned = result["returned"]
        elif job.status == "running":
            job.status = "failed"
            job.reason = _reason(code, job.log)
        self._process.close()


def _reason(code: int, log: Path) -> str:
    """Why a process without a result ended."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    if code == 1:  # an exception, or sys.exit with a sentence: the log ends with what it says
        return last_line(log) or "exited with code 1"
    return f"exited with code {code} before it was done"
