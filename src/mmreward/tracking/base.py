"""What a tracker is, and what a run folder, or one that sums up several, says for it to read."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

from mmreward.curve_file import milliseconds
from mmreward.errors import UserError
from mmreward.files import replace_file

Scalar = str | int | float | bool
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

RUN_INFO, SUMMARY = "run.json", "summary.json"
# Tag of what was found out about a copy of another run: that run's id.
PARENT = "parent_run"
# The tag `commit` of a run whose code no git knows.
UNKNOWN = "unknown"
# Folders that hold a store's copies of what run folders hold: MLflow's files, runs that were found.
ARTIFACTS, DOWNLOADS = "mlflow-artifacts", "downloads"

# Set by a launcher in each job's process: the sweep's name (`sweep_name`).
SWEEP = "MMREWARD_SWEEP"
# And this: the overrides that all its jobs have, as JSON. The names of its runs leave them out.
SWEEP_COMMON = "MMREWARD_SWEEP_COMMON"


def sweep_name(folder: Path) -> str:
    """The tag by which a sweep's runs are found: its folder's name, and what tells it from another
    sweep's of the same name on the same server, unless the name is a time."""
    folder = folder.resolve()
    if re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d.*", folder.name):
        return folder.name
    return f"{folder.name}-{sha256(str(folder).encode()).hexdigest()[:6]}"


@dataclass
class RunInfo:
    """run.json.

    name:    what varied, in a few words
    params:  few, flat and short: runs are compared by them; config.yaml holds the rest
    tags:    where and from what state of the code the run comes
    command: the line that started it
    dataset: name, digest, source (the configuration it is read with), counts (records per split)
    started, ended: milliseconds since 1970
    """

    name: str
    params: dict[str, Scalar]
    tags: dict[str, str]
    command: str = ""
    dataset: dict[str, Any] = field(default_factory=dict)
    status: Status = "RUNNING"
    started: int = field(default_factory=milliseconds)
    ended: int | None = None
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    def write(self, folder: Path) -> None:
        """Writes run.json, which may be read at any moment."""
        replace_file(folder / RUN_INFO, json.dumps(asdict(self), indent=2, default=str) + "\n")

    def end(self, folder: Path, status: Status) -> None:
        """Writes how and when the run ended."""
        self.status, self.ended = status, milliseconds()
        self.write(folder)

    @classmethod
    def read(cls, folder: Path) -> RunInfo:
        """Raises UserError if the folder has no readable run.json."""
        try:
            info = cls(**json.loads((folder / RUN_INFO).read_text()))
        except FileNotFoundError:
            raise UserError(
                f"{folder} has no {RUN_INFO}; give the folder that a training run printed"
            ) from None
        except (ValueError, TypeError) as error:
            raise UserError(f"{folder / RUN_INFO} cannot be read ({error})") from None
        if info.status == "RUNNING" and info.host == socket.gethostname() and not _alive(info.pid):
            info.status = "KILLED"  # it had no chance to say so
        return info


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


@dataclass
class Summary:
    """summary.json.

    artifacts: the files and folders to show, relative to the folder
    tracking:  the configuration of the tracker that it belongs to, None if there was none
    started:   of the first summary in this folder, which later ones replace
    ended:     when the numbers were found; both in milliseconds since 1970
    """

    name: str
    metrics: dict[str, float]
    tags: dict[str, str]
    artifacts: list[str]
    tracking: dict[str, Any] | None
    started: int
    ended: int

    @classmethod
    def write(
        cls,
        folder: Path,
        name: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
        tracking: dict[str, Any] | None = None,
    ) -> None:
        """Writes summary.json. The arguments are those of `Tracking.summary`."""
        now = milliseconds()
        summary = cls(
            name,
            dict(metrics),
            {**tags, "folder": str(folder.resolve()), "host": socket.gethostname()},
            [Path(os.path.relpath(path, folder)).as_posix() for path in artifacts],
            tracking,
            cls.read(folder).started if (folder / SUMMARY).is_file() else now,
            now,
        )
        replace_file(folder / SUMMARY, json.dumps(asdict(summary), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Summary:
        """Raises UserError if summary.json cannot be read."""
        try:
            return cls(**json.loads((folder / SUMMARY).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{folder / SUMMARY} cannot be read ({error})") from None

    @property
    def sets(self) -> list[str]:
        """What the numbers are about: the first part of every metric's name."""
        return list(dict.fromkeys(name.split("/")[0] for name in self.metrics))

    def run_info(self) -> RunInfo:
        """The same as a run that is over."""
        return RunInfo(
            self.name, {}, self.tags, status="FINISHED", started=self.started, ended=self.ended
        )


class Tracking(Protocol):
    """What the tasks expect of `tracking=…`. Nothing but `sync` and `find` raises for a store's
    failure. In a run of several ranks every rank calls the same methods; only rank zero writes.
    """

    def start(self, folder: Path) -> None:
        """Begins to open the run that `folder`'s run.json describes, or the one that the folder
        already belongs to, and to follow the curves that are written there. Waits for no store."""

    def finish(self, folder: Path) -> str | None:
        """Brings everything in `folder` to the store and gives the run the status that run.json
        has by now. Belongs in a `finally`, so that no run stays RUNNING.

        Without `start` it is for a run that this store holds and that has new results; any other
        stays as it is.

        Returns a line that says where to look, None where nothing was tracked.
        """

    def holds(self, folder: Path) -> bool:
        """Whether this store has the run that the folder belongs to. Of a store that cannot be
        asked it is believed; what is then brought to it fails with a warning of its own."""

    def summary(
        self,
        folder: Path,
        name: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> str | None:
        """Logs one finished run of its own, such as a sweep's comparison; needs no `start`.
        summary.json keeps it in the folder, from where `sync` can upload it later.

        folder:    what is summed up there; called again for it, the run gets the new numbers
        tags:      `sweep` is the name that the runs compared here carry as well
        artifacts: files and folders in `folder`
        Returns a line that says where to look, None where nothing was tracked.
        """

    def sync(self, folder: Path) -> str:
        """Uploads a run's folder, or a summary's: what the store already has is left alone, what
        it lacks or what has changed is added, numbers at the times they were measured. Returns a
        line that says where to look.

        Raises UserError if the store cannot be reached or refuses something.
        """

    def find(self, name: str, key: str) -> Path | None:
        """The folder of the run that the store calls `name`: its own, or a copy in `DOWNLOADS` of
        what was uploaded. None where no run of this store could be called so.

        name: what the user gave and is no folder
        key:  what it was given as (`run`, `resume`, …), for messages
        Raises UserError if there is no such run or it has no folder here and none was uploaded.
        """
