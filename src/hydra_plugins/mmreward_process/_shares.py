"""What of the machine each of the jobs running at a time gets."""

from __future__ import annotations

import os
import subprocess


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
