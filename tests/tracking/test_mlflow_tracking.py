"""MLflow tracking against a real sqlite store, and against servers that do not answer."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from launched import until
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from mlflow import MlflowClient
from omegaconf import OmegaConf
from run_folders import end, run_folder, train

from mmreward.config import ROOT
from mmreward.curve_file import append_row
from mmreward.errors import UserError
from mmreward.tracking import MLflowTracking, NoTracking, RunInfo, links, store
from mmreward.tracking.store import known_ids
from mmreward.training.curves import read_curves


def tracking(folder: Path, uri: str | None = None) -> MLflowTracking:
    return MLflowTracking(root=folder.parent, uri=uri, experiment="trial")


def only_run(folder: Path) -> tuple[MlflowClient, Any]:
    """Raises an OSError or a ValueError as long as there is none."""
    if not (path := folder.parent / "mlflow.db").is_file():
        raise FileNotFoundError(path)
    client = MlflowClient(f"sqlite:///{path}")
    experiment = client.get_experiment_by_name("trial")
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def test_a_run_holds_what_its_folder_holds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    tracker = tracking(folder)
    tracker.start(folder)
    train(folder, *range(5))
    until(lambda: only_run(folder)[1].info.status == "RUNNING")
    end(folder)
    link = tracker.finish(folder)

    client, run = only_run(folder)
    info = RunInfo.read(folder)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "base s0"
    assert (run.info.start_time, run.info.end_time) == (info.started, info.ended)
    assert run.data.tags["sweep"] == "s1"
    assert run.data.tags["folder"] == str(folder)
    assert run.data.tags["mlflow.note.content"] == "`python run.py model=base`"
    assert list(run.data.params.items()) == [("model", "base"), ("lr", "0.001"), ("seed", "0")]
    curve = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(p.step, p.value) for p in curve] == [(s, 1.0 / (s + 1)) for s in range(5)]
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    assert [p.timestamp for p in curve] == [line["time"] for line in lines]

    metrics = {k: v for k, v in run.data.metrics.items() if not k.startswith(("system/", "train/"))}
    assert metrics == {
        "accuracy/digits": 0.9,
        "accuracy/digits_low": 0.85,
        "accuracy/digits_high": 0.95,
        "controls/digits_blind_image": 0.5,  # the rule `longer` is the same for every run
        "controls/digits_blind_image_low": 0.4,
        "controls/digits_blind_image_high": 0.6,
        "image_gain/digits": 0.4,
        "image_gain/digits_low": 0.3,
        "image_gain/digits_high": 0.5,
        "reliability/digits_ece": 0.1,
        "reliability/digits_log_loss": 0.3,
        "training/seconds": 12.5,
        "training/steps": 40,
    }
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", "0123456789abcdef")
    assert json.loads(given.dataset.source) == {"path": "somewhere"}
    assert json.loads(given.dataset.profile) == {"train": 64, "test": 24}

    store = folder.parent / "mlflow-artifacts" / run.info.run_id / "artifacts"
    kept = {str(p.relative_to(store)) for p in store.rglob("*") if p.is_file()}
    assert kept == {
        "config.yaml", "overrides.yaml", "run.json", "curves.jsonl", "system.jsonl",
        "metrics.json", "report.md", "figures/margins.png",
    }  # fmt: skip
    assert json.loads((store / "run.json").read_text())["status"] == "FINISHED"
    page = f"#/experiments/{run.info.experiment_id}/runs?workflowType=machine_learning"
    assert link == (
        f"make ui MLFLOW_URI=sqlite:///{folder.parent}/mlflow.db, then http://127.0.0.1:5000/"
        f"{page}&compareRunsMode=CHART&searchFilter=tags.sweep%20%3D%20%22s1%22"
    )


def test_curves_and_the_machine_are_seen_while_the_run_goes_on(folder: Path) -> None:
    tracker = tracking(folder)
    tracker.start(folder)
    train(folder, *range(3))
    until(lambda: "train/loss" in only_run(folder)[1].data.metrics)
    found = only_run(folder)[1].data.metrics
    assert found["train/loss"] == pytest.approx(1 / 3)
    end(folder)
    tracker.finish(folder)
    names = set(only_run(folder)[1].data.metrics)
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= names


def test_a_failed_run_ends_as_failed_and_keeps_its_curves(folder: Path) -> None:
    tracker = tracking(folder)
    tracker.start(folder)
    train(folder, 3)
    end(folder, "FAILED")
    tracker.finish(folder)
    client, run = only_run(folder)
    assert run.info.status == "FAILED"
    assert run.data.metrics["train/loss"] == 0.25
    assert not any(name.startswith("accuracy") for name in run.data.metrics)
    assert client.list_artifacts(run.info.run_id, "figures") == []


def test_a_resumed_run_continues_its_mlflow_run(folder: Path) -> None:
    for steps in ((1, 2), (3, 4)):
        tracker = tracking(folder)
        info = RunInfo.read(folder)
        info.status, info.params = "RUNNING", {**info.params, "lr": float(steps[0])}
        info.write(folder)
        tracker.start(folder)
        until(lambda: only_run(folder)[1].info.status == "RUNNING")
        train(folder, *steps)
        end(folder, "FAILED" if steps[0] == 1 else "FINISHED")
        tracker.finish(folder)
    client, run = only_run(folder)
    assert run.info.status == "FINISHED"
    curve = client.get_metric_history(run.info.run_id, "train/loss")
    assert [p.step for p in curve] == [1, 2, 3, 4]
    assert run.data.params["lr"] == "1.0"  # as it began: a store never changes a parameter


def test_of_a_step_that_was_trained_again_the_last_measurement_is_uploaded(folder: Path) -> None:
    train(folder, 1, 2, 3)
    append_row(folder / "curves.jsonl", 3, {"val/accuracy": 0.5})
    for step in (2, 3):  # killed, and gone on from a checkpoint of step 1
        append_row(folder / "curves.jsonl", step, {"train/loss": 10.0 + step})
    end(folder)
    tracking(folder).sync(folder)
    client, run = only_run(folder)
    curve = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(p.step, p.value) for p in curve] == [(1, 0.5), (2, 12.0), (3, 13.0)]
    drawn = read_curves(folder)
    assert drawn["training loss"] == [(p.step, p.value) for p in curve], "as the report draws it"
    assert drawn["validation accuracy"] == [(3, run.data.metrics["val/accuracy"])]


def test_a_run_that_began_again_replaces_its_earlier_try(folder: Path) -> None:
    """A job that was killed before its first checkpoint leaves a run that nobody will end."""
    tracker = tracking(folder)
    tracker.start(folder)
    train(folder, 1, 2)
    tracker.finish(folder)  # only to end its threads: run.json says RUNNING, as after a kill
    abandoned = only_run(folder)[1].info.run_id
    assert only_run(folder)[1].info.status == "RUNNING"
    (folder / "curves.jsonl").unlink()
    begun = RunInfo.read(folder)
    RunInfo(begun.name, begun.params, begun.tags, started=begun.started + 1000).write(folder)
    again = tracking(folder)
    again.start(folder)
    train(folder, 1, 2, 3)
    end(folder)
    again.finish(folder)
    client, run = only_run(folder)
    assert run.info.run_id != abandoned and run.info.status == "FINISHED"
    curve = client.get_metric_history(run.info.run_id, "train/loss")
    assert [p.step for p in curve] == [1, 2, 3]
    assert client.get_run(abandoned).info.lifecycle_stage == "deleted"  # can be restored


def test_new_results_of_a_finished_run_replace_the_old_ones(folder: Path) -> None:
    tracker = tracking(folder)
    tracker.start(folder)
    end(folder)
    tracker.finish(folder)
    for accuracy in (0.95, 0.85):  # MLflow shows the newest, or the larger of two equally new
        results = {"benchmarks": {}, "training": {"seconds": accuracy}}
        (folder / "metrics.json").write_text(json.dumps(results))
        assert tracking(folder).finish(folder) is not None
        run = only_run(folder)[1]
        assert run.data.metrics["training/seconds"] == accuracy
        assert run.info.status == "FINISHED"


def test_what_somebody_wrote_into_a_run_stays(folder: Path) -> None:
    """Description and colour are edited on MLflow's page."""
    info = RunInfo.read(folder)
    info.tags["mlflow.runColor"] = "#000000"
    info.write(folder)
    end(folder)
    tracking(folder).sync(folder)
    client, run = only_run(folder)
    edited = {"mlflow.note.content": "the one of the paper", "mlflow.runColor": "#ff0000"}
    for name, value in edited.items():
        client.set_tag(run.info.run_id, name, value)
    (folder / "report.md").write_text("# Newer\n")
    before = run.data.tags["mlflow.newestFileTime"]
    tracking(folder).sync(folder)
    tags = only_run(folder)[1].data.tags
    assert {name: tags[name] for name in edited} == edited
    assert tags["mlflow.newestFileTime"] > before, "ours to change"


def test_what_was_never_tracked_stays_untracked(folder: Path) -> None:
    end(folder)
    assert tracking(folder).finish(folder) is None
    assert not (folder.parent / "mlflow.db").exists()


def test_new_results_of_a_run_of_another_store_are_not_put_here(folder: Path) -> None:
    tracker = tracking(folder)
    tracker.start(folder)
    end(folder)
    tracker.finish(folder)
    assert tracking(folder).holds(folder)
    mine = (folder / "mlflow_run_id").read_text()
    other = MLflowTracking(root=folder.parent / "other", uri=None, experiment="trial")
    (elsewhere := folder.parent / "elsewhere").mkdir()
    for _ in range(2):
        assert not other.holds(folder)
        assert other.finish(folder) is None
        # Now its store is there, and holds other runs.
        other.summary(elsewhere, "comparison", {}, {}, [])
    assert (folder / "mlflow_run_id").read_text() == mine
    assert not NoTracking().holds(folder)


def test_a_run_id_of_another_store_begins_a_new_run(folder: Path) -> None:
    (folder / "mlflow_run_id").write_text("0" * 32)
    tracker = tracking(folder)
    tracker.start(folder)
    end(folder)
    tracker.finish(folder)
    assert (folder / "mlflow_run_id").read_text().split()[-1] == only_run(folder)[1].info.run_id


def test_a_run_in_two_stores_is_known_to_both(folder: Path) -> None:
    """Brought to a second store, it is still found by its first id, and mirrored there again."""
    mine = tracking(folder)
    mine.start(folder)
    end(folder)
    mine.finish(folder)
    first = only_run(folder)[1].info.run_id
    other = MLflowTracking(root=folder.parent / "other", uri=None, experiment="trial")
    for _ in range(2):
        other.sync(folder)
        tracking(folder).sync(folder)
    ids = (folder / "mlflow_run_id").read_text().split()
    assert ids[0] == first and len(ids) == 2
    assert mine.find(first, "resume") == other.find(ids[1], "resume") == folder
    assert tracking(folder).holds(folder) and other.holds(folder)


@pytest.mark.parametrize("begun_again", [True, False], ids=["begun again", "gone on"])
def test_a_copied_folder_gets_a_run_of_its_own(folder: Path, begun_again: bool) -> None:
    tracker = tracking(folder)
    tracker.start(folder)
    train(folder, 1, 2)
    end(folder, "FAILED")
    tracker.finish(folder)
    (original,) = known_ids(folder)
    copy = shutil.copytree(folder, folder.parent / "copy")
    assert not tracking(folder).holds(copy)
    info = RunInfo.read(copy)
    info.status, info.tags["folder"] = "RUNNING", str(copy)
    info.started += 1000 * begun_again
    info.write(copy)
    tracker = tracking(folder)
    tracker.start(copy)
    train(copy, 3)
    end(copy)
    tracker.finish(copy)

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    own = known_ids(copy)[-1]
    assert own != original
    for run_id, at, status, steps in (
        (original, folder, "FAILED", [1, 2]),
        (own, copy, "FINISHED", [1, 2, 3]),
    ):
        run = client.get_run(run_id)
        assert run.info.lifecycle_stage == "active" and run.info.status == status
        assert run.data.tags["folder"] == str(at)
        assert [p.step for p in client.get_metric_history(run_id, "train/loss")] == steps
        assert tracking(folder).find(run_id, "run") == at


def test_an_uploaded_copy_is_found_where_it_lies(folder: Path) -> None:
    """Its run.json still says where the original is."""
    end(folder)
    tracking(folder).sync(folder)
    copy = shutil.copytree(folder, folder.parent / "copy")
    tracking(folder).sync(copy)
    original, own = known_ids(copy)
    assert tracking(folder).find(original, "run") == folder
    assert tracking(folder).find(own, "run") == copy
    tracking(folder).sync(copy)
    assert known_ids(copy) == [original, own]


def test_a_moved_folder_keeps_its_run(folder: Path) -> None:
    end(folder)
    tracking(folder).sync(folder)
    linked = folder.parent / "linked"
    linked.symlink_to(folder)
    tracking(folder).sync(linked)
    moved = folder.rename(folder.parent / "moved")
    tracking(folder).sync(moved)
    assert known_ids(moved) == [only_run(folder)[1].info.run_id]


def test_names_that_mlflow_refuses_are_changed(folder: Path) -> None:
    results = {"benchmarks": {}, "training": {"math & logic": 0.5}}
    tracker = tracking(folder)
    tracker.start(folder)
    end(folder, results=results)
    tracker.finish(folder)
    assert only_run(folder)[1].data.metrics["training/math _ logic"] == 0.5


def test_a_summary_is_a_finished_run_of_its_own(folder: Path) -> None:
    (folder / "comparison.md").write_text("# Comparison\n")
    paths = [folder / "comparison.md", folder / "absent.png"]
    line = tracking(folder).summary(
        folder, "comparison", {"base/accuracy": 0.9}, {"sweep": "s1"}, paths
    )
    client, run = only_run(folder)
    assert run.info.status == "FINISHED" and run.info.run_name == "comparison"
    assert run.data.metrics == {"variants/base accuracy": 0.9}
    assert run.data.tags["sweep"] == "s1"
    assert [f.path for f in client.list_artifacts(run.info.run_id)] == ["comparison.md"]
    assert line is not None and " ui MLFLOW_URI=" in line and "s1" in line
    assert NoTracking().summary(folder.parent, "comparison", {}, {}, paths) is None
    assert (folder.parent / "summary.json").is_file()  # for a store that is named later

    (folder / "comparison.md").write_text("# Another\n")  # the sweep has gone on
    metrics = {"base/accuracy": 0.8, "enhanced/accuracy": 0.7}
    tracking(folder).summary(folder, "comparison", metrics, {"sweep": "s1"}, paths)
    client, run = only_run(folder)
    shown = {"variants/base accuracy": 0.8, "variants/enhanced accuracy": 0.7}
    assert run.data.metrics == shown and run.info.status == "FINISHED"
    copy = client.download_artifacts(run.info.run_id, "comparison.md")
    assert Path(copy).read_text() == "# Another\n"

    # A comparison of other variants does not show the old ones as well.
    tracking(folder).summary(folder, "comparison", {"fusion/accuracy": 0.6}, {}, paths)
    assert only_run(folder)[1].data.metrics == {"variants/fusion accuracy": 0.6}


def test_a_summary_never_raises_for_its_store(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = {"a/accuracy": 0.9}
    away = tracking(folder, "http://127.0.0.1:9")
    assert away.summary(folder, "comparison", found, {}, []) is None
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert f"python run.py task=sync run={folder}" in warning
    line = tracking(folder).sync(folder)
    client, run = only_run(folder)
    assert run.info.status == "FINISHED" and run.data.metrics == {"variants/a accuracy": 0.9}
    (measured,) = client.get_metric_history(run.info.run_id, "variants/a accuracy")
    assert measured.timestamp == run.info.end_time, "when it was found, not when it was uploaded"
    assert tracking(folder).sync(folder) == line
    assert only_run(folder)[1].to_dictionary() == run.to_dictionary(), "again changes nothing"


@pytest.mark.slow
def test_processes_that_start_together_share_a_fresh_store(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
import mmreward.tracking.upload, mlflow.store.tracking.sqlalchemy_store
# Everything heavy is imported once, so that the jobs reach the store at the same moment.
from mmreward.tracking import MLflowTracking
from run_folders import end, run_folder, train

def job(folder):
    run_folder(folder, params={"job": folder.name})
    tracker = MLflowTracking(root=folder.parent, uri=None, experiment="trial")
    tracker.start(folder)
    train(folder, *range(20))
    end(folder)
    tracker.finish(folder)

children = []
for n in range(4):
    child = os.fork()
    if child == 0:
        job(Path(sys.argv[1]) / f"job{n}")
        sys.exit()
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] for child in children) > 0)
"""
    paths = f"{ROOT / 'src'}:{ROOT / 'tests'}"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "MLflow at" not in done.stderr

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("trial").experiment_id])
    assert sorted(run.data.params["job"] for run in runs) == ["job0", "job1", "job2", "job3"]
    for run in runs:
        assert run.info.status == "FINISHED"
        curve = client.get_metric_history(run.info.run_id, "train/loss")
        assert [p.step for p in curve] == list(range(20))


@pytest.mark.parametrize("silent", [False, True], ids=["refused", "no answer"])
def test_a_server_that_cannot_be_reached_never_stops_the_run(
    folder: Path, silent: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if silent:
            server.listen()
        tracker = tracking(folder, f"http://127.0.0.1:{server.getsockname()[1]}")
        tracker.store.load()
        began = time.monotonic()
        tracker.start(folder)
        assert time.monotonic() - began < 0.9, "training waits for nobody"  # one request: 1 s
        train(folder, 1)
        end(folder)
        assert tracker.finish(folder) is None
        assert time.monotonic() - began < 20
    first, last = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert f"curves wait in {folder} until it answers" in first
    assert f"python run.py task=sync run={folder}" in last
    assert {path.name for path in folder.parent.iterdir()} == {"first"}, "a server needs no lock"
    assert "system/cpu_utilization_percentage" in (folder / "system.jsonl").read_text()


def test_a_store_that_never_answers_holds_no_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.5)
    tracker = tracking(folder)
    stuck = threading.Event()
    monkeypatch.setattr(tracker.store, "connect", stuck.wait)
    tracker.start(folder)
    end(folder)
    began = time.monotonic()
    assert tracker.finish(folder) is None
    assert time.monotonic() - began < 5
    stuck.set()
    (warning,) = [r.getMessage() for r in caplog.records if "task=sync" in r.getMessage()]
    assert "no answer for 0.5 s" in warning and f"run={folder}" in warning


def test_a_store_that_is_away_is_asked_once_for_many_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = tracking(folder, "http://127.0.0.1:9")
    asked = []

    def connect() -> None:
        asked.append(1)
        raise ConnectionError("away")

    monkeypatch.setattr(tracker.store, "connect", connect)
    runs = [run_folder(folder.parent / name) for name in "abc"]
    assert not tracker.holds(runs[0]) and not asked
    for run in runs:
        (run / "mlflow_run_id").write_text("0" * 32)
        assert tracker.holds(run), "who knows"
        assert tracker.finish(run) is None
        with pytest.raises(UserError, match="away"):
            tracker.sync(run)
    assert len(asked) == 1


def test_what_the_store_has_is_not_uploaded_again(folder: Path, sent: list[str]) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    end(folder)
    tracking(folder).sync(folder)
    sent.clear()
    tracking(folder).sync(folder)
    assert sent == []
    (folder / "report.md").write_text("# rEPORT\n")  # as long as before
    (folder / "model" / "adapter.json").write_text("{}")
    tracking(folder).sync(folder)
    assert sorted(sent) == ["adapter.json", "report.md"]
    run = only_run(folder)[1]
    kept = folder.parent / "mlflow-artifacts" / run.info.run_id / "artifacts"
    assert (kept / "report.md").read_text() == "# rEPORT\n"
    assert (kept / "model" / "model.safetensors").read_bytes() == b"weights"
    (kept / "model" / "model.safetensors").unlink()
    tracking(folder).sync(folder)
    assert sent[2:] == ["model.safetensors"]


def test_files_of_a_store_on_this_disk_are_there_once(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(b"weights" * 1000)
    end(folder)
    tracker = tracking(folder)
    tracker.sync(folder)
    run = only_run(folder)[1]
    kept = folder.parent / "mlflow-artifacts" / run.info.run_id / "artifacts"
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert path.samefile(folder / path.relative_to(kept)), path
    # What takes a file's place in the folder, and what is added to it, is in the store as well.
    (folder / "new").write_text("# Another\n")
    (folder / "new").replace(folder / "report.md")
    tracker.sync(folder)
    assert (kept / "report.md").samefile(folder / "report.md")
    shutil.rmtree(folder)  # the store's own name for it stays
    assert (kept / "model" / "model.safetensors").read_bytes() == b"weights" * 1000


def test_a_databases_password_is_not_uploaded(folder: Path) -> None:
    config = "tracking:\n  uri: postgresql://me:hidden@host/db\n"
    (folder / "config.yaml").write_text(config)
    (folder / "overrides.yaml").write_text("- ++tracking.uri=mysql://me:hidden@host/db\n")
    tracker = tracking(folder)
    tracker.start(folder)
    end(folder)
    tracker.finish(folder)
    kept = [path for path in (folder.parent / "mlflow-artifacts").rglob("*") if path.is_file()]
    assert {"config.yaml", "overrides.yaml"} <= {path.name for path in kept}
    for path in kept:
        assert "hidden" not in path.read_text(), path
    (uploaded,) = [path for path in kept if path.name == "config.yaml"]
    assert uploaded.read_text() == "tracking:\n  uri: postgresql://host/db\n"
    assert (folder / "config.yaml").read_text() == config  # which task=sync reads


def test_only_rank_zero_writes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(p.name for p in folder.parent.rglob("*"))
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    tracker = tracking(folder)
    tracker.start(folder)
    assert tracker.finish(folder) is None
    assert sorted(p.name for p in folder.parent.rglob("*")) == before


def test_no_tracking_leaves_nothing(folder: Path) -> None:
    before = sorted(p.name for p in folder.parent.rglob("*"))
    tracker = NoTracking()
    tracker.start(folder)
    assert tracker.finish(folder) is None
    assert sorted(p.name for p in folder.parent.rglob("*")) == before
    for asked in (lambda: tracker.sync(folder), lambda: tracker.find("0" * 32, "run")):
        with pytest.raises(UserError, match="tracking=none"):
            asked()


def test_the_default_store_is_opened_by_make_ui(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(links, "ROOT", tmp_path)  # runs are begun in the repository
    folder = run_folder(tmp_path / "outputs" / "first", tags={})
    node = OmegaConf.load(ROOT / "conf" / "tracking" / "mlflow.yaml")
    assert node.pop("_target_") == "mmreward.tracking.MLflowTracking"
    tracker = MLflowTracking(**node)
    tracker.start(folder)
    end(folder)
    link = tracker.finish(folder)
    assert link is not None
    assert link.startswith("make ui, then http://127.0.0.1:5000/#/experiments/")
    assert link.endswith("/runs?workflowType=machine_learning&compareRunsMode=CHART")
    assert (tmp_path / "outputs" / "mlflow.db").exists()


def test_importing_tracking_is_cheap_and_telemetry_is_off_before_mlflow_is_there() -> None:
    program = (
        "import sys, os; from mmreward.tracking import MLflowTracking;"
        "MLflowTracking(root='nowhere', uri=None, experiment='x');"
        "assert not {'mlflow', 'torch', 'lightning', 'pandas'} & sys.modules.keys();"
        "assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == 'true';"
        "from mlflow.telemetry import get_telemetry_client; assert get_telemetry_client() is None"
    )
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=60)
