"""summary.json: what sums up the runs of a folder, such as a sweep's comparison, for a tracker."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmreward.curve_file import milliseconds
from mmreward.errors import UserError
from mmreward.files import replace_file
from mmreward.tracking.base import RunInfo

SUMMARY = "summary.json"


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
