"""A run id -> the run's folder: its own where it is on this machine, else a copy of what the
store keeps of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from mmreward.errors import UserError
from mmreward.tracking import copies
from mmreward.tracking.address import without_password
from mmreward.tracking.base import DOWNLOADS
from mmreward.tracking.store import Store, known_ids

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_RUN_ID = re.compile(r"[0-9a-f]{32}")

NEEDED = "config.yaml"


def download(store: Store, run_id: str, key: str) -> Path | None:
    """As `Tracking.find`."""
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
    tags = run.data.tags
    folder = Path(tags.get("folder", ""))
    if run_id in known_ids(folder):
        return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    if key == "resume":
        raise UserError(
            f"resume={run_id}: the checkpoints of {run.info.run_name} lie in its folder, "
            f"{folder} on {tags.get('host')}, which is not here; continue it there, or start "
            "from its weights with init_from="
        )
    return _copy(store, client, run, key)


def _copy(store: Store, client: MlflowClient, run: Run, key: str) -> Path:
    """What was uploaded, downloaded once, and again when the run has other files."""
    from filelock import FileLock

    run_id, tags = run.info.run_id, run.data.tags
    home = f"{tags.get('folder')} on {tags.get('host')}"
    if run.info.status == "RUNNING":
        raise UserError(
            f"{key}={run_id}: {run.info.run_name} is running in {home}; wait for its end, or end "
            "it with task=sync there if its process was killed"
        )
    folder = store.root / DOWNLOADS / run_id
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock"), timeout=3600):
        if folder.is_dir():
            if not copies.outdated(folder, run):
                return folder
            if copies.has_own_results(folder, run):
                raise UserError(
                    f"{key}={run_id}: the run has got other results since, and its copy {folder} "
                    "holds results of its own that were not uploaded; move away what you want to "
                    "keep and delete the folder"
                )
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            names = [entry.path for entry in client.list_artifacts(run_id)]
            if NEEDED not in names:
                raise UserError(
                    f"{key}={run_id}: {store} keeps no {NEEDED} of {run.info.run_name}, whose "
                    f"folder is {home}"
                )
            for name in names:
                client.download_artifacts(run_id, name, str(unfinished))
        except UserError:
            raise
        except Exception as error:
            reason = without_password(shorten(str(error), 300))
            raise UserError(f"{key}={run_id} could not be downloaded ({reason})") from error
        copies.make(unfinished, run)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    return folder
