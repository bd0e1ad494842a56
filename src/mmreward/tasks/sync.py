"""task=sync: upload what the tracking server did not take, or not whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from mmreward.config import build, load_run_config
from mmreward.errors import UserError
from mmreward.tracking.base import ARTIFACTS, DOWNLOADS, RUN_INFO, SUMMARY, Summary, Tracking

_COPIES = (ARTIFACTS, DOWNLOADS)
_NONE = "mmreward.tracking.NoTracking"  # as conf/tracking/none.yaml has it


def sync(cfg: DictConfig) -> None:
    """Uploads `run`, or every run and comparison in the folder of a sweep, to the store that the
    command line names, else to the one each was tracked with.

    Raises UserError that names what was not uploaded, after everything else was.
    """
    console = Console()
    where: dict[str, None] = {}
    failed: dict[Path, UserError] = {}
    trackers: dict[str, Tracking] = {}
    folders = run_folders(Path(cfg.run))
    for folder in folders:
        try:
            node = tracking_node(cfg, folder)
            # One for all runs of a store, which is then not asked again where it is away.
            key = OmegaConf.to_yaml(node)
            tracker = trackers.get(key) or build(node, "tracking")
            trackers[key] = tracker
            where[tracker.sync(folder)] = None
            console.print(f"uploaded: {folder}", soft_wrap=True)
        except UserError as error:
            failed[folder] = error
    for line in where:
        console.print(line, soft_wrap=True)
    if failed:
        first = next(iter(failed.values()))
        if len(folders) == 1:
            raise first
        raise UserError(
            f"{len(failed)} of {len(folders)} were not uploaded: {', '.join(map(str, failed))}; "
            f"the first because {first}"
        )


def tracking_of(cfg: DictConfig, folder: Path) -> Tracking:
    """The tracker that `tracking_node` describes."""
    tracking: Tracking = build(tracking_node(cfg, folder), "tracking")
    return tracking


def names_a_store() -> bool:
    """Whether the command line chooses a tracker or changes anything about it."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return any(re.match(r"\+*tracking[.=]", override) for override in given)


def tracking_node(cfg: DictConfig, folder: Path) -> DictConfig:
    """The configuration of the tracker to use for the folder; what ran with tracking=none had
    none of its own, and what came from another machine has none here."""
    if (folder / SUMMARY).is_file():
        own = OmegaConf.create(Summary.read(folder).tracking or {})
    else:
        own = load_run_config(folder)[1].get("tracking")
    if names_a_store() or not own or own.get("_target_", _NONE) == _NONE:
        return cfg.tracking
    is_folder = own.get("root") and not own.get("uri")
    return cfg.tracking if is_folder and not Path(own.root).is_dir() else own


def run_folders(folder: Path) -> list[Path]:
    """The folder itself, or the runs inside it (of a sweep) in the order of their numbers and
    then the comparisons of them. Copies of runs, which belong to a store, are none.

    Raises UserError if there is nothing.
    """
    found = sorted(_found(folder), key=lambda at: ((at / SUMMARY).is_file(), _numbered(at)))
    if not found:
        raise UserError(
            f"run={folder} holds no {RUN_INFO} or {SUMMARY}; give the folder that a training run "
            "printed, or that of a sweep or a comparison"
        )
    return found


def _found(folder: Path) -> Iterator[Path]:
    for path, inside, files in os.walk(folder):
        if SUMMARY in files or RUN_INFO in files:
            yield Path(path)
        inside[:] = [] if RUN_INFO in files else [x for x in inside if x not in _COPIES]


def _numbered(path: Path) -> list[tuple[int, str]]:
    return [(len(part), part) for part in path.parts]
