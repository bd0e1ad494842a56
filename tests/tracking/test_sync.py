"""task=sync against a real HTTP server that is killed: nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow_server import Server
from run_folders import end, train

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
    for run in client.search_runs([experiment.experiment_id]):
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
    return [(line["step"], line["time"], line["train/loss"]) for line in lines]


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
    for _ in range(100):
        if content(server)["base s0"]["curves"].get("train/loss"):
            break
        time.sleep(0.1)
    server.kill()
    began = time.monotonic()
    train(folder, *range(20, 40))
    assert time.monotonic() - began < 2
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
