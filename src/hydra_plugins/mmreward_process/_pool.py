"""Jobs, as many at a time as there are slots."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection

from hydra_plugins.mmreward_process._job import Job, Running


def run_jobs(
    jobs: Sequence[Job],
    n_jobs: int,
    timeout: float | None,
    environment: dict[str, str],
    started: Callable[[Job, str], None],
    ended: Callable[[Job], None],
) -> None:
    """Runs the jobs to their ends, whatever these are.

    started, ended: called with each job; the former with the GPUs it sees, "" for all there are
    On KeyboardInterrupt all jobs are ended, and it is raised again.
    """
    slots = gpu_slots(n_jobs)
    threads = threads_each(n_jobs)
    waiting, running = list(jobs), dict[Running, str]()
    try:
        while waiting or running:
            while waiting and slots:
                gpus = slots.pop(0)
                job = waiting.pop(0)
                variables = {"CUDA_VISIBLE_DEVICES": gpus} if gpus else {}
                running[Running(job, environment | variables, threads, timeout)] = gpus
                started(job, gpus)
            _wait(running)
            for one in [one for one in running if one.tend()]:
                slots.append(running.pop(one))
                ended(one.job)
    except KeyboardInterrupt:
        for one in running:
            one.interrupt("interrupted", "ended by Ctrl-C")
        while running:
            _wait(running)
            for one in [one for one in running if one.tend()]:
                del running[one]
                ended(one.job)
        raise
    finally:  # whatever went wrong here, a second Ctrl-C too
        for one in running:
            one.kill()


def _wait(running: Sequence[Running] | dict[Running, str]) -> None:
    """Until a process ends or is to be ended."""
    times = [at for one in running if (at := one.next_at) is not None]
    timeout = max(0.0, min(times) - time.monotonic()) if times else None
    connection.wait([one.sentinel for one in running], timeout)


def threads_each(n_jobs: int) -> int | None:
    """A job's share of the processor's threads; None: what it takes by itself, or what the user
    has set."""
    if n_jobs == 1 or "OMP_NUM_THREADS" in os.environ:
        return None
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, cores // n_jobs)


def gpu_slots(n_jobs: int) -> list[str]:
    """What each of the jobs running at a time is to see, for CUDA_VISIBLE_DEVICES; "" for all.

    Four GPUs are one each for four jobs, two each for two, and for eight jobs two share one.
    """
    gpus = _gpus() if n_jobs > 1 else []
    if not gpus:
        return [""] * n_jobs
    return [",".join(gpus[slot::n_jobs]) or gpus[slot % len(gpus)] for slot in range(n_jobs)]


def _gpus() -> list[str]:
    """The GPUs of this process, without importing anything that would begin to use them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu and gpu != "-1"]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return found.stdout.split() if found.returncode == 0 else []
