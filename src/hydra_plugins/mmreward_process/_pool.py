"""Jobs, as many at a time as there are slots."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from multiprocessing import connection
from typing import Protocol

from hydra_plugins.mmreward_process._job import Job
from hydra_plugins.mmreward_process._running import Running
from hydra_plugins.mmreward_process._shares import gpu_slots, threads_each
from hydra_plugins.mmreward_process._stop import Stop


class Report(Protocol):
    """Who hears what happens."""

    def started(self, job: Job, gpus: str) -> None:
        """gpus: those it sees, "" for all there are"""

    def ended(self, job: Job) -> None: ...

    def stopping(self) -> None:
        """The jobs that run have been asked to end."""


def run_jobs(
    jobs: Sequence[Job],
    n_jobs: int,
    timeout: float | None,
    environment: dict[str, str],
    stop: Stop,
    report: Report,
) -> None:
    """Runs the jobs to their ends, whatever these are.

    When `stop` is asked for, no job starts any more and those that run are given the time to end
    themselves, unless it is asked for again. Then raises Stopped.
    """
    slots = gpu_slots(n_jobs)
    threads = threads_each(n_jobs)
    waiting, running, asked = list(jobs), dict[Running, str](), False
    try:
        with stop.held():
            while running or (waiting and not stop.stopped):
                while waiting and slots and not stop.stopped:
                    gpus = slots.pop(0)
                    variables = {"CUDA_VISIBLE_DEVICES": gpus} if gpus else {}
                    one = Running(waiting.pop(0), environment | variables, threads, timeout)
                    running[one] = gpus  # before it starts: what starts is ended with the others
                    try:
                        one.start()
                    except OSError as error:  # its folder cannot be written, or nothing forked
                        slots.append(running.pop(one))
                        one.job.status, one.job.reason = "failed", f"could not start: {error}"
                        report.ended(one.job)
                    else:
                        report.started(one.job, gpus)
                _wait(running, stop)
                if stop.stopped and not asked:
                    asked = True
                    for one in running:
                        one.interrupt("interrupted", f"ended by {stop.stopped}")
                    report.stopping()
                for one in list(running):
                    if stop.again:
                        one.kill()
                    if one.tend():
                        slots.append(running.pop(one))
                        report.ended(one.job)
    finally:  # of a failure in here, or there are none
        for one in running:
            one.abandon("ended with the launcher, which failed")
    if stop.stopped:
        raise stop.stopped


def _wait(running: Iterable[Running], stop: Stop) -> None:
    """Until a process ends or is to be ended, or a signal comes."""
    times = [one.due for one in running if one.due is not None]
    timeout = max(0.0, min(times) - time.monotonic()) if times else None
    signals = stop.fileno()
    if signals in connection.wait([signals, *(one.sentinel for one in running)], timeout):
        stop.hear()
