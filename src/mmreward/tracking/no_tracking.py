"""`tracking=none`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmreward.errors import UserError
from mmreward.tracking.base import Summary


class NoTracking:
    """`tracking=none`: the run folder alone."""

    def start(self, folder: Path) -> None:
        pass

    def finish(self, folder: Path) -> str | None:
        return None

    def holds(self, folder: Path) -> bool:
        return False

    def summary(
        self,
        folder: Path,
        name: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> str | None:
        Summary.write(folder, name, metrics, tags, artifacts)  # a store may be named later
        return None

    def sync(self, folder: Path) -> str:
        raise UserError(f"tracking=none has no store to upload {folder} to; choose another")

    def find(self, name: str, key: str) -> Path:
        raise UserError(
            f"{key}={name} does not exist, and tracking=none has no store that could know it"
        )
