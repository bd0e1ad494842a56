"""A run folder's files, brought to an MLflow run: those that it lacks, and those that are newer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mmreward.curve_file import CURVES, SYSTEM
from mmreward.tracking.address import without_password
from mmreward.tracking.base import RUN_INFO
from mmreward.tracking.upload import RESULTS, write_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

AT_START = ("config.yaml", "overrides.yaml", RUN_INFO)
# Tag: the time of the newest file when all of them had been uploaded.
NEWEST = "mlflow.newestFile"  # MLflow shows no tags that begin like this
NEVER = "1970-01-01T00:00:00.000000000Z"  # stands for the tag where there is none
# Files that may hold the address of a store.
_WITH_ADDRESS = {".yaml", ".json", ".md", ".html"}
# What a run leaves behind that is worth keeping apart from its folder. No checkpoints: they are
# large, and the bundle holds the best weights.
AT_END = (
    "report.md",
    "report.html",
    "overview.png",
    "figures",
    "images",
    RESULTS,
    CURVES,
    SYSTEM,
    "records.jsonl",
    "scores.jsonl",
    "scores.meta.json",
    "bad_records.jsonl",
    "model",
)
FILES = (*AT_START, *AT_END)


def upload_files(client: MlflowClient, run_id: str, folder: Path, names: Sequence[str]) -> str:
    """Files, and folders under their names; a failed run lacks some, and those are left out. So
    are those that the run has in the same size, if they are not newer than what was uploaded.

    Returns the run's tag `NEWEST`.
    """
    files = {path.relative_to(folder).as_posix(): path for path in _files(folder, names)}
    times = {name: _time(path) for name, path in files.items()}
    before = client.get_run(run_id).data.tags.get(NEWEST, NEVER)
    stored = _stored(client, run_id) if before > NEVER else {}
    new = [
        name
        for name, path in files.items()
        if times[name] > before or stored.get(name) != path.stat().st_size
    ]
    for name in new:
        upload_file(client, run_id, files[name], name.rpartition("/")[0])
    newest = max(times.values(), default=NEVER)
    if newest > before:
        write_tags(client, run_id, {NEWEST: newest})
    return max(newest, before)


def newest_file(folder: Path) -> str:
    """What `NEWEST` would be if everything in a run folder were uploaded."""
    return max((_time(path) for path in _files(folder, FILES)), default=NEVER)


def _time(path: Path) -> str:
    """When the file was changed: to the nanosecond, in an order that strings have."""
    seconds, rest = divmod(path.stat().st_mtime_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def set_time(path: Path, time: str) -> None:
    """Makes `time` the moment in which the file was changed."""
    seconds, _, rest = time.removesuffix("Z").partition(".")
    moment = int(datetime.fromisoformat(f"{seconds}+00:00").timestamp()) * 10**9 + int(rest)
    os.utime(path, ns=(moment, moment))


def _files(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    for path in (folder / name for name in names):
        if path.is_dir():
            yield from sorted(inside for inside in path.rglob("*") if inside.is_file())
        elif path.exists():
            yield path


def _stored(client: MlflowClient, run_id: str, inside: str | None = None) -> dict[str, int]:
    """The run's files and their sizes."""
    found: dict[str, int] = {}
    for entry in client.list_artifacts(run_id, inside):
        if entry.is_dir:
            found |= _stored(client, run_id, entry.path)
        else:
            found[entry.path] = entry.file_size or 0
    return found


def upload_file(client: MlflowClient, run_id: str, path: Path, inside: str = "") -> None:
    """Uploads a file into the folder `inside`; what holds a store's password goes without it."""
    if not inside and path.suffix in _WITH_ADDRESS:
        text = path.read_text(encoding="utf-8")
        if (shown := without_password(text)) != text:
            with TemporaryDirectory() as scratch:
                copy = Path(scratch) / path.name
                copy.write_text(shown, encoding="utf-8")
                client.log_artifact(run_id, str(copy))
            return
    client.log_artifact(run_id, str(path), inside or None)
