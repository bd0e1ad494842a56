"""A launch: jobs are planned, run and summed up."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from omegaconf import DictConfig

from hydra_plugins.mmreward_process import _server
from hydra_plugins.mmreward_process._job import Job
from hydra_plugins.mmreward_process._plan import constants, label, plan
from hydra_plugins.mmreward_process._pool import run_jobs
from hydra_plugins.mmreward_process._running import GRACE
from hydra_plugins.mmreward_process._screen import Screen
from hydra_plugins.mmreward_process._stop import Stop, Stopped
from mmreward.errors import UserError
from mmreward.sweep_file import SWEEP_FILE, read_name, write_sweep
from mmreward.tracking import base as tracking

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
    _check(launcher)
    setup_globals()
    folder = Path(str(launcher.config.hydra.sweep.dir))
    folder.mkdir(parents=True, exist_ok=True)
    launcher.lock = launcher.lock or _alone(folder)
    jobs, configs, earlier = plan(launcher, job_overrides, first, folder)
    # An earlier line may have had another value of what is the same in all jobs of this one.
    common = label(jobs, constants(launcher).intersection(*(job.overrides for job in earlier)))
    screen = Screen(jobs, folder)
    if not launcher.jobs:  # later batches of a sweeper go on below the lines of the first
        screen.plan(jobs, launcher.n_jobs, common)
    launcher.jobs += jobs
    ours = {job.folder for job in launcher.jobs}
    kept = [job for job in earlier if job.folder not in ours]  # of other lines, later batches
    name = read_name(folder) or tracking.sweep_name(folder)
    report = Report(folder, name, [*launcher.jobs, *kept], screen)
    _run(launcher, folder, jobs, configs, common, report, screen)
    failed = sum(job.failed for job in jobs)
    if len(jobs) > 1:
        screen.table(jobs)
    if failed:
        screen.say(f"{failed} of {len(jobs)} jobs failed. {_again(folder)}")
    launcher.exit_code.failed += failed
    return [_job_return(job) for job in jobs]


def _check(launcher: ProcessLauncher) -> None:
    if launcher.n_jobs < 1:
        raise UserError(f"hydra.launcher.n_jobs={launcher.n_jobs} must be at least 1")
    if launcher.timeout is not None and launcher.timeout <= 0:
        raise UserError(f"hydra.launcher.timeout={launcher.timeout} must be above 0, or null")


def _run(
    launcher: ProcessLauncher,
    folder: Path,
    jobs: Sequence[Job],
    configs: Sequence[DictConfig],
    common: Sequence[str],
    report: Report,
    screen: Screen,
) -> None:
    """Runs those of the jobs that wait."""
    waiting = [job for job in jobs if job.status == "waiting"]
    environment = {
        tracking.SWEEP: report.name,
        tracking.SWEEP_COMMON: json.dumps(common),
    }
    try:
        with Stop() as stop:
            if waiting:
                _import(configs, screen)
            run_jobs(waiting, launcher.n_jobs, launcher.timeout, environment, stop, report)
    except Stopped as stopped:
        screen.say(f"ended by {stopped}")
        screen.say(_again(folder))
        sys.exit(stopped.exit_code)
    finally:
        report.record()


class Report:
    """Tells what happens to the jobs: on disk before on the screen.

    name: of the sweep
    jobs: all that sweep.json is to list; it does so by number, so that what an earlier line of the
          sweep began with stays first
    """

    def __init__(self, folder: Path, name: str, jobs: Sequence[Job], screen: Screen) -> None:
        self.name = name
        self._folder = folder
        self._jobs = sorted(jobs, key=lambda job: job.number)
        self._screen = screen

    def record(self) -> None:
        """Jobs do not depend on the list of them, and what counts is what each leaves itself."""
        try:
            write_sweep(self._folder, self.name, [job.row() for job in self._jobs])
        except OSError as error:  # a full disk, a server of files that does not answer
            self._screen.say(f"warning: {SWEEP_FILE} could not be written ({error}); jobs go on")

    def started(self, job: Job, gpus: str) -> None:
        self.record()
        self._screen.started(job, gpus)

    def ended(self, job: Job) -> None:
        self.record()
        self._screen.ended(job)

    def stopping(self) -> None:
        self._screen.say(f"running jobs have {GRACE:g} s to end; asked again, they are killed")


def _import(configs: Sequence[DictConfig], screen: Screen) -> None:
    with screen.status("importing what the jobs need"):
        failed = _server.start(_server.targets(configs))
    for module, reason in failed.items():
        screen.say(f"warning: {module} could not be imported for all jobs ({reason})")


def _again(folder: Path) -> str:
    return f"The same command with hydra.sweep.dir={folder} runs what is not done."


def _alone(folder: Path) -> FileLock:
    """Two sweeps in one folder would run the same jobs into each other. Locks it as long as the
    lock is kept: a sweeper may launch in batches, and the jobs are compared after the last one."""
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"another sweep is running in {folder}; wait for it, or give another hydra.sweep.dir"
        ) from None
    return lock


def _job_return(job: Job) -> JobReturn:
    if job.failed:
        return Failed(overrides=job.overrides, status=JobStatus.FAILED)
    return JobReturn(
        overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=job.returned
    )
