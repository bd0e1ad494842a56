"""A job: what it is asked, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_plugins.mmreward_process._folder import LOG, read_result
from mmreward.sweep_file import DONE, Row, Status


@dataclass
class Job:
    """number, folder: the one names the other unless the sweep says otherwise
    argv:    the command line of the job on its own; ranks that a trainer starts repeat it
    content: cloudpickle of the arguments of `run_job` and the state of Hydra's singletons
    label:   the overrides that vary in the sweep
    """

    number: int
    overrides: list[str]
    sweep: Path
    folder: Path
    argv: list[str]
    content: bytes
    label: str = ""
    status: Status = "waiting"
    reason: str = ""
    seconds: float | None = None
    returned: Any = None

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def failed(self) -> bool:
        """Whether it was started and has no result."""
        return self.status in ("failed", "interrupted")

    @property
    def done(self) -> bool:
        return self.status in DONE

    def skip_if_finished(self) -> None:
        if result := read_result(self.folder, self.overrides):
            self.status = "done before"
            self.returned, self.seconds = result["returned"], result["seconds"]

    def row(self) -> Row:
        return {
            "job": self.number,
            "overrides": self.overrides,
            "folder": str(self.folder),
            "status": self.status,
            "reason": self.reason,
            "returned": self.returned,
            "seconds": self.seconds,
            "log": str(self.log),
        }
