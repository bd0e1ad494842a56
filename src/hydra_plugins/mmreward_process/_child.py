"""What happens in a job's own process, around Hydra's `run_job`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from hydra_plugins.mmreward_process._folder import write_result

# What an earlier trainer leaves in the environment; another one would take itself for a rank of it.
_RANKS = (
    "LOCAL_RANK", "RANK", "GLOBAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE",
    "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """What a job's process is told.

    overrides:   of the job, kept beside its result
    argv:        the command line of the job on its own; ranks that a trainer starts repeat it
    environment: variables to set
    threads:     of PyTorch and OpenMP; None leaves them as they are
    content:     cloudpickle of the arguments of `run_job` and the state of Hydra's singletons
    """

    folder: Path
    log: Path
    overrides: list[str]
    argv: list[str]
    environment: dict[str, str]
    threads: int | None
    content: bytes


def run(order: Order) -> None:
    """The target of a job's process; exits with 1 if the job raises."""
    began = time.time()
    os.setsid()  # a group of its own, which is ended as a whole
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _redirect(order.log)
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    for name in _RANKS:
        os.environ.pop(name, None)
    os.environ |= order.environment
    if order.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(order.threads)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(order.threads)
    sys.argv = order.argv
    returned = _run_job(order.content)
    write_result(order.folder, order.overrides, returned, time.time() - began)


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
