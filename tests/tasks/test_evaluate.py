"""task=evaluate of a run whose folder is elsewhere: it gets a run folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from run_folders import run_folder
from small_training import SMALL, config

from mmreward.config import ROOT
from mmreward.tasks import evaluate as task
from mmreward.tracking import RunInfo


def run(folder: Path, *arguments: str) -> None:
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def known(client: MlflowClient, run_id: str) -> tuple[Any, ...]:
    """What a store says of a run."""
    found = client.get_run(run_id)
    files = [(entry.path, entry.file_size) for entry in client.list_artifacts(run_id)]
    return found.data.metrics, found.data.tags, found.info.status, found.info.end_time, files


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_what_is_scored_for_a_copy_is_a_run_of_its_own(tmp_path: Path) -> None:
    tracked = [option for option in SMALL if option != "tracking=none"]
    run(tmp_path, *tracked, "hydra.run.dir=trained", "evaluation.conditions=[intact]")
    run_id = (tmp_path / "trained" / "mlflow_run_id").read_text().strip()
    shutil.rmtree(tmp_path / "trained")
    client = MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    parent = known(client, run_id)
    line = ("task=evaluate", f"run={run_id}")
    run(tmp_path, *line, "evaluation.conditions=[intact]")
    copy = contents(tmp_path / "outputs" / "downloads" / run_id)
    assert copy
    run(tmp_path, *line, "evaluation.conditions=[intact,normalised]")

    (own,) = (tmp_path / "outputs" / "evaluate").iterdir()
    results = json.loads((own / "metrics.json").read_text())["benchmarks"]["digits"]
    assert "normalised" in results["controls"]
    found = client.get_run((own / "mlflow_run_id").read_text().strip())
    assert found.info.run_id != run_id and found.info.status == "FINISHED"
    assert found.data.tags["parent_run"] == run_id
    assert found.data.metrics["accuracy/digits"] == pytest.approx(results["accuracy"])
    assert "controls/digits_normalised" in found.data.metrics
    assert known(client, run_id) == parent
    assert contents(tmp_path / "outputs" / "downloads" / run_id) == copy


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_ended_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: signal.Signals
) -> None:
    copy = run_folder(tmp_path / "downloads" / ("0" * 32), status="FINISHED")
    monkeypatch.setattr(task, "_evaluate", lambda *_: os.kill(os.getpid(), ending))
    with pytest.raises(SystemExit) as left:
        task.evaluate(config("task=evaluate", f"run={copy}", small=("tracking=none",)))
    assert left.value.code == 128 + ending
    (own,) = (tmp_path / "evaluate").iterdir()
    assert RunInfo.read(own).status == "KILLED" and RunInfo.read(own).ended is not None
