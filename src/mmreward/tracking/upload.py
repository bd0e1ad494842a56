"""What a run folder says in numbers and words, brought to an MLflow run. Every function may be
called again: what the run has is left alone, what it lacks is added."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from mmreward.curve_file import CURVES, SYSTEM, milliseconds, read_rows
from mmreward.files import link_file
from mmreward.tracking.address import without_password
from mmreward.tracking.base import RUN_INFO, RunInfo

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

T = TypeVar("T")

# Most of one kind that one request may carry.
METRICS_AT_ONCE = 1000
OTHERS_AT_ONCE = 100

RESULTS = "metrics.json"
AT_START = ("config.yaml", "overrides.yaml", RUN_INFO)
# Tag: when the newest file was changed (nanoseconds), once all of them had been uploaded.
NEWEST = "mlflow.newestFileTime"  # MLflow shows no tags that begin like this
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
    "verdicts.jsonl",
    "scores.meta.json",
    "bad_records.jsonl",
    "model",
)
FILES = (*AT_START, *AT_END)


def allowed(name: str) -> str:
    """`name` with what MLflow refuses in names (`&`, brackets, …) turned into underscores."""
    return re.sub(r"[^a-zA-Z0-9_/.\- ]", "_", name)


def describe(client: MlflowClient, run_id: str, info: RunInfo) -> None:
    """Parameters, tags and the data set. Of MLflow's own tags, such as the description, the run
    keeps what it has: they are edited on its page."""
    from mlflow.entities import Param

    run = client.get_run(run_id)
    tags = {
        "mlflow.source.name": "run.py",
        "mlflow.note.content": f"`{info.command}`" if info.command else "",
        **info.tags,
    }
    has = run.data.tags
    changed = {
        name: value
        for name, value in tags.items()
        if value and value != has.get(name) and not (name in has and name.startswith("mlflow."))
    }
    # A store never changes a parameter, and a run that goes on keeps its own.
    new = [
        Param(allowed(key), str(value))
        for key, value in info.params.items()
        if allowed(key) not in run.data.params
    ]
    write_tags(client, run_id, changed)
    for param_batch in _batches(new, OTHERS_AT_ONCE):
        client.log_batch(run_id, params=param_batch)
    if info.dataset and not (run.inputs and run.inputs.dataset_inputs):
        _log_dataset(client, run_id, info.dataset)


def _log_dataset(client: MlflowClient, run_id: str, dataset: Mapping[str, Any]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    entity = Dataset(
        name=dataset["name"],
        digest=dataset["digest"],
        source_type="mmreward",
        source=json.dumps(dataset["source"]),
        profile=json.dumps(dataset["counts"]),
    )
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, [DatasetInput(entity, [context])])


def points(rows: Sequence[Mapping[str, Any]]) -> list[Metric]:
    """Rows of curves.jsonl or system.jsonl as MLflow stores them."""
    from mlflow.entities import Metric

    return [
        Metric(allowed(name), float(value), row.get("time", 0), row["step"])
        for row in rows
        for name, value in row.items()
        if name not in ("step", "time")
    ]


def write_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Sets the tags, whatever they were before."""
    from mlflow.entities import RunTag

    for batch in _batches([RunTag(key, value) for key, value in tags.items()], OTHERS_AT_ONCE):
        client.log_batch(run_id, tags=batch)


def write(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    """Logs the points and waits until the store has them."""
    for batch in _batches(metrics, METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=batch)


def missing(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> list[Metric]:
    """Those of the points that the run does not have."""
    present = {
        (name, point.step, point.timestamp, point.value)
        for name in {metric.key for metric in metrics}
        for point in client.get_metric_history(run_id, name)
    }
    return [m for m in metrics if (m.key, m.step, m.timestamp, m.value) not in present]


def upload_curves(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Everything in curves.jsonl and system.jsonl; of a step that a run which went on from a
    checkpoint trained again, the last measurement."""
    for name in (CURVES, SYSTEM):
        last = {(point.key, point.step): point for point in points(read_rows(folder / name)[0])}
        write(client, run_id, missing(client, run_id, list(last.values())))


def upload_results(client: MlflowClient, run_id: str, folder: Path) -> None:
    """The numbers of metrics.json, one MLflow metric each, newer ones after older ones."""
    path = folder / RESULTS
    if path.is_file():
        flat = flat_metrics(json.loads(path.read_text(encoding="utf-8")))
        write_final(client, run_id, flat, milliseconds())


def write_final(client: MlflowClient, run_id: str, values: Mapping[str, float], found: int) -> None:
    """Numbers that no curve belongs to, where the run has others.

    found: when, in milliseconds since 1970; MLflow shows the newest
    """
    known = client.get_run(run_id).data.metrics
    new = {name: v for name, v in values.items() if known.get(allowed(name)) != v}
    write(client, run_id, points([{**new, "step": 0, "time": found}]))


def flat_metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of metrics.json under short flat names, in the order a page should show them.

    MLflow sorts by name and draws a section per prefix: what is compared first comes first, and
    the rules that need no model, the same for all runs of a data set, are left to the report.
    """
    from mmreward.analysis.rules import RULES

    flat: dict[str, float] = {}
    for name, values in results.get("benchmarks", {}).items():
        flat.update(_with_ends(f"accuracy/{name}", values["accuracy"], values["accuracy_ci95"]))
        for control, row in values["controls"].items():
            if control not in RULES:
                key = f"controls/{name}_{control}"
                flat.update(_with_ends(key, row["accuracy"], row["accuracy_ci95"]))
        if gain := values.get("image_gain"):
            flat.update(_with_ends(f"image_gain/{name}", gain["difference"], gain["ci95"]))
        for key, number in values.get("official", {}).items():
            flat[f"official/{name}_{key}"] = number["value"]
        for error in ("ece", "log_loss"):
            flat[f"reliability/{name}_{error}"] = values["calibration"][error]
    flat.update({f"training/{k}": v for k, v in results.get("training", {}).items()})
    return flat


def _with_ends(
    name: str, value: float, interval: Sequence[float] | None
) -> Iterator[tuple[str, float]]:
    yield name, value
    for end, bound in zip(("low", "high"), interval or (), strict=False):
        yield f"{name}_{end}", bound


def upload_files(client: MlflowClient, run_id: str, folder: Path, names: Sequence[str]) -> None:
    """Files, and folders under their names; a failed run lacks some, and those are left out. So
    are those that the run has in the same size, if they are not newer than what was uploaded."""
    run = client.get_run(run_id)
    place = _on_this_disk(run.info.artifact_uri)
    before = int(run.data.tags.get(NEWEST, 0))
    stored = _stored(client, run_id) if before else {}
    newest = before
    for path in _files(folder, names):
        name, stat = path.relative_to(folder).as_posix(), path.stat()
        newest = max(newest, stat.st_mtime_ns)
        if stat.st_mtime_ns > before or stored.get(name) != stat.st_size:
            upload_file(client, run_id, path, name.rpartition("/")[0], place)
    if newest > before:
        write_tags(client, run_id, {NEWEST: str(newest)})


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


def _on_this_disk(uri: str) -> Path | None:
    """The folder that a store keeps a run's files in, None if it is none of this machine's."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def upload_file(
    client: MlflowClient, run_id: str, path: Path, inside: str = "", place: Path | None = None
) -> None:
    """Uploads a file into the folder `inside`; what holds a store's password goes without it.

    place: where the store keeps the run's files if that is on this machine. There the file gets a
           second name.
    """
    if not inside and path.suffix in _WITH_ADDRESS:
        text = path.read_text(encoding="utf-8")
        if (shown := without_password(text)) != text:
            with TemporaryDirectory() as scratch:
                copy = Path(scratch) / path.name
                copy.write_text(shown, encoding="utf-8")
                client.log_artifact(run_id, str(copy))
            return
    if place is not None:
        target = place / inside / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        link_file(path, target)
    else:
        client.log_artifact(run_id, str(path), inside or None)


def _batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    for begin in range(0, len(items), size):
        yield list(items[begin : begin + size])
