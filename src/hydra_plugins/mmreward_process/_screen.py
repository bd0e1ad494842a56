"""What the screen shows of a sweep: a line when a job starts and ends, a table at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

from rich.console import Console, RenderableType
from rich.status import Status
from rich.table import Table

from hydra_plugins.mmreward_process._folder import read_accuracy
from hydra_plugins.mmreward_process._job import Job


class Screen:
    """Prints plain lines, which a log of the sweep can hold as well.

    Nobody has to read them: jobs go on without a screen (a pipe whose reader has ended, a closed
    terminal, a full disk).
    """

    def __init__(self, jobs: Sequence[Job], folder: Path) -> None:
        self._console = Console(soft_wrap=True, highlight=False, markup=False)
        self._folder = folder
        self._wide = max((len(job.label) for job in jobs), default=0)

    def say(self, text: str) -> None:
        self._print(text)

    def _print(self, what: RenderableType, soft_wrap: bool = True) -> None:
        try:
            self._console.print(what, soft_wrap=soft_wrap)
        except (OSError, SystemExit):  # the latter is what rich makes of a broken pipe
            self._console.quiet = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())  # for others that print, Python at its end too
            os.close(nowhere)

    def status(self, text: str) -> Status:
        """Shows `text` while it lasts, on a terminal only."""
        return self._console.status(text)

    def plan(self, jobs: Sequence[Job], n_jobs: int, common: Sequence[str]) -> None:
        waiting = [job for job in jobs if job.status == "waiting"]
        at_a_time = f", {n_jobs} at a time" if n_jobs > 1 else ""
        done = len(jobs) - len(waiting)
        skipped = f"; {done} of {len(jobs)} are done already" if done else ""
        self.say(f"sweep of {len(jobs)} jobs{at_a_time} in {self._folder}{skipped}")
        if common:
            self.say(f"all with {' '.join(common)}")

    def started(self, job: Job, gpus: str) -> None:
        where = f"  on GPU {gpus}" if gpus else ""
        self._line(job, "starts", where)

    def ended(self, job: Job) -> None:
        if job.failed:
            self._line(job, "FAILED", f"  {shorten(job.reason, 200)}; see {job.log}")
        else:
            search = returned(job) and f"returned {returned(job)}"
            more = (accuracy(job), search, f"{job.seconds:,.0f} s")
            self._line(job, "done", "".join(f"  {each}" for each in more if each))

    def _line(self, job: Job, what: str, more: str) -> None:
        self.say(f"job {job.number:<3} {what:<6}  {job.label:<{self._wide}}{more}".rstrip())

    def table(self, jobs: Sequence[Job]) -> None:
        table = Table(title=f"jobs of {self._folder}", title_justify="left")
        table.add_column("job", justify="right")
        table.add_column("overrides", overflow="fold")
        table.add_column("status", overflow="fold")
        table.add_column("returned", justify="right", no_wrap=True)
        table.add_column("accuracy", justify="right", no_wrap=True)
        table.add_column("seconds", justify="right", no_wrap=True)
        some_failed = any(job.failed for job in jobs)
        if some_failed:  # who looks for the others' finds them in their folders
            table.add_column("log", overflow="fold")
        for job in jobs:
            reason = shorten(job.reason, 60, placeholder=" …")
            status = f"{job.status}: {reason}" if reason else job.status
            seconds = "" if job.seconds is None else f"{job.seconds:,.0f}"
            cells = [str(job.number), job.label, status, returned(job), accuracy(job), seconds]
            if some_failed:
                cells.append(str(job.log.relative_to(self._folder)))
            table.add_row(*cells, style="bold red" if job.failed else None)
        self._print(table, soft_wrap=False)


def returned(job: Job) -> str:
    """What a sweeper that searches goes by."""
    return f"{job.returned:.4g}" if isinstance(job.returned, float) else ""


def accuracy(job: Job) -> str:
    """What the job left as its result, whatever it returned."""
    found = read_accuracy(job.folder) if job.done else None
    return "" if found is None else f"{100 * found:.1f} %"
