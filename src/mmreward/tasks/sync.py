"""task=sync: upload run folders that the tracking server did not take, or not whole."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from mmreward.config import build, load_run_config
from mmreward.errors import UserError
from mmreward.tracking.base import RUN_INFO, NoTracking, Tracking


def sync(cfg: DictConfig) -> None:
    """Uploads `run`, or every run in the folder of a sweep, to the store that the command line
    names, else to the one each run was tracked with."""
    console = Console()
    where: dict[str, None] = {}
    for folder in run_folders(Path(cfg.run)):
        where[tracking_of(cfg, folder).sync(folder)] = None
        console.print(f"uploaded: {folder}", soft_wrap=True)
    for line in where:
        console.print(line, soft_wrap=True)


def tracking_of(cfg: DictConfig, folder: Path) -> Tracking:
    """The tracker to use for the run; one that ran with tracking=none had none of its own."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    named = any(re.match(r"\+*tracking[.=]", override) for override in given)
    own = load_run_config(folder)[1].get("tracking")
    if named or not own or own["_target_"].endswith(NoTracking.__name__):
        own = cfg.tracking
    tracking: Tracking = build(own, "tracking")
    return tracking


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
