"""A job's process, as the launcher sees it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from hydra_plugins.mmreward_process import _server
from hydra_plugins.mmreward_process._child import run
from hydra_plugins.mmreward_process._folder import RESULT, last_line, read_result, size, write_job
from hydra_plugins.mmreward_process._job import Job
from mmreward.sweep_file import Status

# Seconds between asking a job to end, so that its tracking can be closed, and ending it. A tracker
# waits 10 s for a busy server and asks it a second time. SLURM and Kubernetes leave a launcher that
# they end 30 s for all of this.
GRACE = 25.0


# Of a process that has not ended though its server does not answer for it any more.
ORPHAN = "ended because the process that jobs are forked from was killed"


class Running:
    """A job with its process and the group that this leads.

    timeout: seconds, None for ever
    """

    def __init__(
        self, job: Job, environment: dict[str, str], threads: int | None, timeout: float | None
    ) -> None:
        self.job = job
        self._process = _server.CONTEXT.Process(
            target=run, args=(job, environment, threads), name=f"job {job.number}"
        )
        self._pid: int | None = None  # while it may be sent a signal
        self._timeout = timeout
        self._asked = False
        self._due: float | None = None

    def start(self) -> None:
        job = self.job
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / RESULT).unlink(missing_ok=True)  # half of one, if any
        write_job(job.sweep, job.folder, job.number, job.overrides)
        self._log_began = size(job.log)
        self._began = time.monotonic()
        if self._timeout is not None:
            self._due = self._began + self._timeout
        job.status, job.reason = "running", ""
        _server.fork(self._process)
        self._pid = self._process.pid

    @property
    def sentinel(self) -> int:
        """Becomes readable when the process ends."""
        return self._process.sentinel

    @property
    def due(self) -> float | None:
        """When `tend` has something to do even if the process does not end, on the monotonic
        clock."""
        return self._due

    def tend(self) -> bool:
        """Ends a process whose time is over; whether the job has ended."""
        code = self._process.exitcode
        if code is not None:
            self._conclude(code)
            return True
        if self._due is not None and time.monotonic() >= self._due:
            if self._asked:
                self.kill()
            else:
                self.interrupt("failed", f"not finished after {self._timeout:g} s")
        return False

    def interrupt(self, status: Status, reason: str) -> None:
        """Asks the job to end as Ctrl-C would, once; `tend` kills it when it does not."""
        if not self._asked:
            self._asked = True
            self.job.status, self.job.reason = status, reason
            self._due = time.monotonic() + GRACE
            self._signal(signal.SIGINT)

    def kill(self) -> None:
        self._due = None  # all that is left to wait for is its end
        self._signal(signal.SIGKILL)

    def abandon(self, reason: str) -> None:
        """Ends the job without waiting for it."""
        self.kill()
        self.job.status, self.job.reason = "interrupted", reason

    def _signal(self, number: int) -> None:
        if self._pid is None:
            return
        try:
            os.killpg(self._pid, number)
        except ProcessLookupError:  # it has ended, or leads no group yet and has done nothing yet
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _conclude(self, code: int) -> None:
        job = self.job
        assert self._pid is not None
        orphan = _exists(self._pid)
        with suppress(ProcessLookupError):  # ranks and workers that outlived the job
            os.killpg(self._pid, signal.SIGKILL)
        self._pid = None
        self._process.close()
        job.seconds = round(time.monotonic() - self._began, 2)
        if result := read_result(job.folder, job.overrides):
            job.status, job.reason = "done", ""
            job.returned = result["returned"]
        elif job.status == "running":
            job.status = "failed"
            job.reason = ORPHAN if orphan else self._reason(code)

    def _reason(self, code: int) -> str:
        """Why a process without a result ended."""
        number = -code if code < 0 else code - 128  # the latter if it has closed its tracking
        if number in {*signal.Signals}:
            return f"killed by {signal.Signals(number).name}"
        # An exception, or sys.exit with a sentence: the log ends with what it says.
        if code == 1 and (line := last_line(self.job.log, self._log_began)):
            return line
        return f"exited with code {code} before it was done"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
