"""A launch: jobs are planned, run and summed up."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from hydra.core.utils import JobReturn, JobStatus, setup_globals

from hydra_plugins.mmreward_process import _server
from hydra_plugins.mmreward_process._folder import SWEEP, write_json
from hydra_plugins.mmreward_process._job import Job
from hydra_plugins.mmreward_process._plan import label, plan
from hydra_plugins.mmreward_process._pool import run_jobs
from hydra_plugins.mmreward_process._screen import Screen
from mmreward import tracking
from mmreward.errors import UserError

if TYPE_CHECKING:
    from hydra_plugins.mmreward_process.process_launcher import ProcessLauncher


class Failed(JobReturn):
    """Of a job that failed: its return value is None instead of an exception, because looking at
    it must not end the sweep. What went wrong has been reported."""

    @property  # type: ignore[misc]  # nobody sets it
    def return_value(self) -> Any:
        return None


def launch(
    launcher: ProcessLauncher, job_overrides: Sequence[Sequence[str]], first: int
) -> list[JobReturn]:
    """See `ProcessLauncher.launch`."""
    if launcher.n_jobs < 1:
        raise UserError(f"hydra.launcher.n_jobs={launcher.n_jobs} must be at least 1")
    if launcher.timeout is not None and launcher.timeout <= 0:
        raise UserError(f"hydra.launcher.timeout={launcher.timeout} must be above 0, or null")
    setup_globals()
    folder = Path(str(launcher.config.hydra.sweep.dir))
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        jobs, configs = plan(launcher, job_overrides, first, folder)
        common = label(jobs)
        screen = Screen(jobs, folder)
        earlier = launcher.rows
        if not earlier:  # later batches of a sweeper go on below the lines of the first
            screen.plan(jobs, launcher.n_jobs, common)

        def record() -> None:
            launcher.rows = earlier + [job.row() for job in jobs]
            write_json(folder / SWEEP, {"jobs": launcher.rows})

        def ended(job: Job) -> None:
            screen.ended(job)
            record()

        waiting = [job for job in jobs if job.status == "waiting"]
        try:
            if waiting:
                with screen.status("importing what the jobs need"):
                    failed_imports = _server.start(_server.modules(configs))
                for module, reason in failed_imports.items():
                    screen.say(f"warning: {module} could not be imported for all jobs ({reason})")
            environment = {
                tracking.SWEEP: folder.resolve().name,
                tracking.SWEEP_COMMON: json.dumps(common),
            }
            run_jobs(waiting, launcher.n_jobs, launcher.timeout, environment, screen.started, ended)
        except KeyboardInterrupt:
            screen.say("ended by Ctrl-C")
            screen.say(_again(folder))
            sys.exit(130)
        finally:
            record()
    failed = sum(job.failed for job in jobs)
    if len(jobs) > 1:
        screen.table(jobs)
    if failed:
        screen.say(f"{failed} of {len(jobs)} jobs failed. {_again(folder)}")
    launcher.exit_code.failed += failed
    return [_job_return(job) for job in jobs]


def _again(folder: Path) -> str:
    return f"The same command with hydra.sweep.dir={folder} runs what is not done."


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two sweeps in one folder would run the same jobs into each other."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"another sweep is running in {folder}; wait for it, or give another hydra.sweep.dir"
        ) from None


def _job_return(job: Job) -> JobReturn:
    if job.failed:
        return Failed(overrides=job.overrides, status=JobStatus.FAILED)
    return JobReturn(
        overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=job.returned
    )
