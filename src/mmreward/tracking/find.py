"""Where the configuration names a run as its tracker does -> the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mmreward.config import build
from mmreward.tracking.base import Tracking


def find_runs(cfg: DictConfig) -> None:
    """Puts folders where the configuration names runs by what the tracker calls them.

    Raises UserError as `Tracking.find` does.
    """
    found: dict[str, Any] = {k: cfg.get(k) for k in ("run", "resume", "init_from") if cfg.get(k)}
    found |= {"runs": list(runs)} if (runs := cfg.get("runs")) else {}
    named = [x for value in found.values() for x in (value if isinstance(value, list) else [value])]
    if all(Path(name).is_dir() for name in named):
        return
    tracking: Tracking = build(cfg.tracking, "tracking")

    def folder(name: str, key: str) -> str:
        at = None if Path(name).is_dir() else tracking.find(name, key)
        return str(at or name)

    for key, value in found.items():
        many = isinstance(value, list)
        cfg[key] = [folder(name, key) for name in value] if many else folder(value, key)
