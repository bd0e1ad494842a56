"""task=sync: upload run folders that the tracking server did not take, or not whole."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from mmreward.config import build
from mmreward.errors import UserError
from mmreward.tracking.base import RUN_INFO, Tracking


def sync(cfg: DictConfig) -> None:
    """Uploads `run`, or every run in the folder of a sweep."""
    folders = run_folders(Path(cfg.run))
    tracking: Tracking = build(cfg.tracking, "tracking")
    console = Console()
    where: dict[str, None] = {}
    for folder in folders:
        where[tracking.sync(folder)] = None
        console.print(f"uploaded: {folder}", soft_wrap=True)
    for line in where:
        console.print(line, soft_wrap=True)


def run_folders(folder: Path) -> list[Path]:
    """The folder itself, or the runs inside it (of a sweep), in the order of their numbers.

    Raises UserError if it is no run and holds none.
    """
    if (folder / RUN_INFO).is_file():
        return [folder]
    inside = [path.parent for path in folder.glob(f"*/{RUN_INFO}")]
    if not inside:
        raise UserError(
            f"run={folder} holds no {RUN_INFO}; give the folder that a training run printed, or "
            "that of a sweep"
        )
    return sorted(inside, key=lambda path: (len(path.name), path.name))
