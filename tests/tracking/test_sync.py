"""task=sync against a real HTTP server that is killed: nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from launched import until
from mlflow import MlflowClient
from mlflow_server import Server
from run_folders import end, train

from mmreward.config import ROOT
from mmreward.errors import UserError
from mmreward.tracking import MLflowTracking, RunInfo

pytestmark = pytest.mark.slow


def tracking(folder: Path, server: Server) -> MLflowTracking:
    return MLflowTracking(root=folder.parent, uri=server.uri, experiment="trial")


def content(server: Server) -> dict[str, dict[str, Any]]:
    """Everything the server knows, by run name."""
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("trial")
    found: dict[str, dict[str, Any]] = {}
    for run in client.search_runs([experiment.experiment_id]) if experiment else ():
        run_id = run.info.run_id
        curves = {
            name: [(p.step, p.timestamp, p.value) for p in client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        }
        assert run.info.run_name not in found, "one run in the store for one folder"
        found[run.info.run_name] = {
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "params": run.data.params,
            "tags": run.data.tags,
            "datasets": [d.dataset.digest for d in run.inputs.dataset_inputs],
            "curves": curves,
            "files": sorted(f.path for f in client.list_artifacts(run_id)),
        }
    return found


def expected_curve(folder: Path) -> list[tuple[int, int, float]]:
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    train = [line for line in lines if "train/loss" in line]
    return [(line["step"], line["time"], line["train/loss"]) for line in train]


def test_a_run_whose_server_was_away_is_uploaded_later(folder: Path, server: Server) -> None:
    tracker = tracking(folder, server)
    tracker.start(folder)
    train(folder, *range(5))
    end(folder)
    assert tracker.finish(folder) is None
    with pytest.raises(UserError, match="did not take all of .* once it answers, run this again"):
        tracking(folder, server).sync(folder)

    server.start()
    line = tracking(folder, server).sync(folder)
    assert line.startswith(f"{server.uri}/#/experiments/") and "compareRunsMode=CHART" in line
    run = content(server)["base s0"]
    info = RunInfo.read(folder)
    assert run["status"] == "FINISHED" and run["times"] == (info.started, info.ended)
    assert run["params"] == {"model": "base", "lr": "0.001", "seed": "0"}
    assert run["tags"]["sweep"] == "s1" and run["datasets"] == ["0123456789abcdef"]
    assert run["curves"]["train/loss"] == expected_curve(folder)
    assert [value for _, _, value in run["curves"]["accuracy/digits"]] == [0.9]
    assert {"config.yaml", "report.md", "figures", "run.json"} <= set(run["files"])

    before = content(server)
    tracking(folder, server).sync(folder)
    assert content(server) == before, "again changes nothing"
    (folder / "mlflow_run_id").unlink()  # as if the answer with the id had been lost
    tracking(folder, server).sync(folder)
    assert content(server) == before


def test_a_run_whose_server_dies_in_the_middle_goes_on_and_is_repaired(
    folder: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.start()
    tracker = tracking(folder, server)
    tracker.start(folder)
    train(folder, *range(20))
    until(lambda: "train/loss" in content(server).get("base s0", {}).get("curves", {}))
    server.kill()
    began = time.monotonic()
    train(folder, *range(20, 40))
    assert time.monotonic() - began < 5
    end(folder)
    assert tracker.finish(folder) is None
    assert "task=sync" in caplog.text

    server.start()
    assert content(server)["base s0"]["status"] == "RUNNING"
    tracking(folder, server).sync(folder)
    run = content(server)["base s0"]
    assert run["status"] == "FINISHED"
    assert run["curves"]["train/loss"] == expected_curve(folder)
    assert {"report.md", "figures"} <= set(run["files"])
    before = content(server)
    tracking(folder, server).sync(folder)
    assert content(server) == before


def test_a_server_that_comes_back_before_the_end_gets_everything(
    folder: Path, server: Server
) -> None:
    tracker = tracking(folder, server)
    tracker.start(folder)
    train(folder, *range(5))
    server.start()
    end(folder)
    assert tracker.finish(folder) is not None
    assert content(server)["base s0"]["curves"]["train/loss"] == expected_curve(folder)


def test_a_killed_run_ends_in_the_store_too(folder: Path, server: Server) -> None:
    train(folder, 1, 2)
    info = RunInfo.read(folder)
    info.pid = 2**22 + 1  # beyond what Linux gives
    info.write(folder)
    server.start()
    tracking(folder, server).sync(folder)
    assert content(server)["base s0"]["status"] == "KILLED"


def test_training_outlives_its_server(tmp_path: Path, server: Server) -> None:
    """The same through run.py: exit code 0, a full run folder, and task=sync."""
    server.start()
    small = (
        "model.backbone.hidden_size=32", "model.backbone.layers=1",
        "model.backbone.vision_depth=1", "data.source.train_records=256", "data.batch_size=8",
        "trainer.max_steps=60", "trainer.val_check_interval=30", "trainer.log_every_n_steps=1",
        "trainer.enable_progress_bar=false", "evaluation.conditions=[intact]",
    )  # fmt: skip
    address = f"tracking.uri={server.uri}"
    run = [sys.executable, str(ROOT / "run.py")]
    training = subprocess.Popen(
        [*run, *small, address, "hydra.run.dir=outputs/run"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    folder = tmp_path / "outputs" / "run"
    while not (folder / "curves.jsonl").exists():
        assert training.poll() is None, training.communicate()[0]
        time.sleep(0.05)
    server.kill()
    screen, _ = training.communicate(timeout=300)
    assert training.returncode == 0, screen
    assert "Traceback" not in screen
    assert "upload the rest with: python run.py task=sync run=outputs/run" in screen
    assert (folder / "metrics.json").is_file() and (folder / "report.md").is_file()
    assert len(expected_curve(folder)) == 60

    # The run's own server, without its name.
    failed = subprocess.run(
        [*run, "task=sync", "run=outputs/run"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert failed.returncode == 1 and "run this again" in failed.stderr
    assert "Traceback" not in failed.stderr
    server.start()
    done = subprocess.run(
        [*run, "task=sync", "run=outputs/run"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "uploaded: outputs/run"
    assert done.stdout.splitlines()[1].startswith(f"{server.uri}/#/experiments/")
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("mmreward")
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    results = json.loads((folder / "metrics.json").read_text())["benchmarks"]["digits"]
    assert tracked.data.metrics["accuracy/digits"] == results["accuracy"]
    curve = client.get_metric_history(tracked.info.run_id, "train/loss")
    assert [(p.step, p.timestamp, p.value) for p in curve] == expected_curve(folder)
