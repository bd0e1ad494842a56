"""The launcher as Hydra sees it; the work is done in `_launch`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from filelock import FileLock

    from hydra_plugins.mmreward_process._job import Job


@dataclass
class ProcessLauncherConf:
    """Every key of `hydra.launcher`."""

    _target_: str = "hydra_plugins.mmreward_process.process_launcher.ProcessLauncher"
    n_jobs: int = 1
    timeout: float | None = None


ConfigStore.instance().store(
    group="hydra/launcher", name="process", node=ProcessLauncherConf, provider="mmreward"
)


class ExitCode(Callback):
    """Ends a sweep in which a job failed with exit code 1.

    Hydra's own way, an exception when a sweeper looks at the job's return value, would keep
    sweepers from going on and other callbacks from hearing of the end.
    """

    def __init__(self) -> None:
        self.failed = 0

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if self.failed:
            raise SystemExit(1)


class ProcessLauncher(Launcher):
    """Runs jobs in processes forked from a server that has imported what they need.

    n_jobs:  how many run at a time; GPUs and processor threads are divided among them
    timeout: seconds after which a job is ended; null waits for ever
    """

    def __init__(self, n_jobs: int, timeout: float | None) -> None:
        self.n_jobs = n_jobs
        self.timeout = timeout
        self.exit_code = ExitCode()

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        self.jobs: list[Job] = []  # of the whole sweep; a sweeper may launch in batches
        self.lock: FileLock | None = None  # on its folder, until the process ends
        # At the end callbacks are asked in reverse order, so the first one has the last word.
        hydra_context.callbacks.callbacks.insert(0, self.exit_code)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs the jobs. A failed one is reported and returns None.

        Raises UserError for options that make no sense and for a sweep folder in use.
        """
        from hydra_plugins.mmreward_process._launch import launch

        return launch(self, job_overrides, initial_job_idx)
