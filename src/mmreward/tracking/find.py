"""Where the configuration names a run as its tracker does -> the run's folder: its own where it is
on this machine, else a copy of what the store keeps of it, which nothing writes into."""

from __future__ import annotations

import re
import shutil
import socket
from hashlib import sha256
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from mmreward.config import build
from mmreward.errors import UserError
from mmreward.files import link_file
from mmreward.tracking.address import without_password
from mmreward.tracking.base import DOWNLOADS, PARENT, RUN_INFO, RunInfo, Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from mmreward.tracking.store import Store

_RUN_ID = re.compile(r"[0-9a-f]{32}")
NEEDED = "config.yaml"
# In a copy: what the run's tag `NEWEST` was when it was made.
MADE_AT = ".mlflow_newest"
# Beside `DOWNLOADS`: what was found out about copies.
EVALUATIONS = "evaluate"


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


def is_copy(folder: Path) -> bool:
    """Whether the folder is a copy of what a store keeps of a run."""
    folder = folder.resolve()
    return folder.parent.name == DOWNLOADS and _RUN_ID.fullmatch(folder.name) is not None


def own_folder(copy: Path) -> Path:
    """A run folder for what is found out about a copy's run, which it names as its parent. The same
    for the same copy, so that finished work is kept, until the run was trained on, which changes
    its run.json; it shares the copy's model on the disk."""
    copy = copy.resolve()
    parent = RunInfo.read(copy)
    state = sha256((copy / RUN_INFO).read_bytes()).hexdigest()[:6]
    folder = copy.parents[1] / EVALUATIONS / f"{copy.name}-{state}"
    if not (folder / RUN_INFO).is_file():
        # run.json comes last: a folder without it was not finished.
        left_out = shutil.ignore_patterns(RUN_INFO, MADE_AT)
        shutil.copytree(copy, folder, ignore=left_out, copy_function=_place, dirs_exist_ok=True)
        # It is no job of the parent's sweep.
        tags = {k: v for k, v in parent.tags.items() if k not in ("sweep", "mlflow.runColor")}
        tags |= {PARENT: copy.name, "folder": str(folder), "host": socket.gethostname()}
        name = f"{parent.name} evaluated"
        RunInfo(name, parent.params, tags, dataset=parent.dataset).write(folder)
    return folder


def _place(source: str, target: str) -> None:
    """The model is never written to again; other files go on."""
    if Path(source).parent.name == "model":
        link_file(Path(source), Path(target))
    else:
        shutil.copyfile(source, target)


def download(store: Store, run_id: str, key: str) -> Path | None:
    """As `Tracking.find`."""
    from mmreward.tracking.store import known_ids

    if not _RUN_ID.fullmatch(run_id):
        return None
    try:
        client, _ = store.connect()
        run = store.run(client, run_id)
    except Exception as error:
        reason = without_password(shorten(str(error), 300))
        raise UserError(f"{key}={run_id}: {store} cannot be asked ({reason})") from error
    if run is None:
        raise UserError(
            f"{key}={run_id} is no run of {store}; give its folder, or the store with tracking.uri="
        )
    folder = Path(run.data.tags.get("folder", ""))
    home = f"{folder} on {run.data.tags.get('host')}"
    if run_id in known_ids(folder):
        return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    if key == "resume":
        raise UserError(
            f"resume={run_id}: the checkpoints of {run.info.run_name} lie in its folder, {home}, "
            "which is not here; continue it there, or start from its weights with init_from="
        )
    if run.info.status == "RUNNING":
        raise UserError(
            f"{key}={run_id}: {run.info.run_name} is running in {home}; wait for its end, or end "
            "it with task=sync there if its process was killed"
        )
    try:
        return _copy(store, client, run)
    except UserError as error:
        raise UserError(f"{key}={run_id}: {error}, whose folder is {home}") from None
    except Exception as error:
        reason = without_password(shorten(str(error), 300))
        raise UserError(f"{key}={run_id} could not be downloaded ({reason})") from error


def _copy(store: Store, client: MlflowClient, run: Run) -> Path:
    """What was uploaded, downloaded once, and again when the run has other files."""
    from filelock import FileLock

    from mmreward.tracking.upload import NEWEST

    run_id, newest = run.info.run_id, run.data.tags.get(NEWEST, "")
    folder = store.root / DOWNLOADS / run_id
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock"), timeout=3600):
        made_at = folder / MADE_AT
        if made_at.is_file() and made_at.read_text() == newest:
            return folder
        if folder.is_dir() and not made_at.is_file():
            # Of a version that wrote results into copies, which may be nowhere else.
            folder.rename(folder.with_suffix(".before"))
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        names = [entry.path for entry in client.list_artifacts(run_id)]
        if NEEDED not in names:
            raise UserError(f"{store} keeps no {NEEDED} of {run.info.run_name}")
        for name in names:
            client.download_artifacts(run_id, name, str(unfinished))
        (unfinished / MADE_AT).write_text(newest)
        for path in unfinished.rglob("*"):
            if path.is_file():
                path.chmod(0o444)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    return folder
