"""What happens in a job's own process, around Hydra's `run_job`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from hydra_plugins.mmreward_process import _preload
from hydra_plugins.mmreward_process._folder import write_result
from hydra_plugins.mmreward_process._job import Job

# What makes a trainer take itself for a rank of another one, which an earlier one leaves behind.
_RANKS = (
    "LOCAL_RANK", "RANK", "GLOBAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE",
    "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED",
    # The tasks that a batch script asked for are the sweep's: a trainer that finds SLURM_NTASKS
    # waits for ranks that SLURM starts, or refuses to begin.
    "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_PROCID", "SLURM_LOCALID",
    "SLURM_NODEID",
)  # fmt: skip


def run(job: Job, environment: dict[str, str], threads: int | None) -> None:
    """The target of a job's process; exits with 1 if the job raises.

    environment: variables to set
    threads:     of PyTorch and OpenMP; None leaves them as they are
    """
    began = time.time()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores all of them
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.setsid()  # a group of its own, which gets signals and is ended as a whole
    _redirect(job.log)
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    for name in (*_RANKS, _preload.TARGETS):
        os.environ.pop(name, None)
    os.environ |= environment
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(threads)
    sys.argv = job.argv
    returned = _run_job(job.content)
    write_result(job.folder, job.overrides, returned, time.time() - began)


def _run_job(content: bytes) -> Any:
    import cloudpickle
    from hydra.core.singleton import Singleton
    from hydra.core.utils import run_job, setup_globals

    setup_globals()
    arguments = cloudpickle.loads(content)
    Singleton.set_state(arguments.pop("singletons"))
    job = run_job(**arguments, job_dir_key="hydra.run.dir", job_subdir_key=None)
    return job.return_value  # raises what the job raised


def _redirect(log: Path) -> None:
    """Sends what this process and those it starts print to the log, line by line."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _end_with_launcher() -> None:
    """A launcher that is killed leaves no job behind."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
