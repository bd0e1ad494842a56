"""MLflow tracking against a real sqlite store, and against servers that fail."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from mlflow import MlflowClient
from omegaconf import OmegaConf

from mmreward.errors import UserError
from mmreward.mlflow_logger import MLflowCurves
from mmreward.tracking import MLflowTracking, NoTracking

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with the configuration in it."""
    folder = tmp_path / "outputs" / "first"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    return folder


def tracking(folder: Path, uri: str | None = None) -> MLflowTracking:
    return MLflowTracking(root=folder.parent, uri=uri, experiment="trial")


def start(tracker: MLflowTracking, folder: Path, **params: Any) -> None:
    tracker.start("base+bradley_terry", params, {"sweep": "s1"}, folder / "config.yaml", folder)


def only_run(folder: Path) -> tuple[MlflowClient, Any]:
    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("trial")
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def test_a_run_holds_its_parameters_curves_metrics_and_artifacts(folder: Path) -> None:
    tracker = tracking(folder)
    start(tracker, folder, model="base", lr=1e-3, seed=0, resume=None)
    (logger,) = tracker.logger()
    for step in range(5):
        logger.log_metrics({"train/loss": 1.0 / (step + 1), "lr": 0.1}, step)
    logger.finalize("success")
    client, run = only_run(folder)
    assert run.info.status == "RUNNING"  # the test split is still to be scored

    (folder / "report.md").write_text("# Report\n")
    (folder / "figures").mkdir()
    (folder / "figures" / "margins.png").write_bytes(b"png")
    artifacts = [folder / "report.md", folder / "figures", folder / "absent.json"]
    link = tracker.finish({"test/accuracy": 0.97, "math & logic": 0.5}, artifacts, "FINISHED")

    client, run = only_run(folder)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "base+bradley_terry"
    assert run.data.tags["sweep"] == "s1"
    assert run.data.params == {"model": "base", "lr": "0.001", "seed": "0", "resume": "None"}
    curve = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(p.step, p.value) for p in curve] == [(s, 1.0 / (s + 1)) for s in range(5)]
    assert run.data.metrics["test/accuracy"] == 0.97
    assert run.data.metrics["math _ logic"] == 0.5

    store = folder.parent / "mlflow-artifacts" / run.info.run_id / "artifacts"
    kept = {str(p.relative_to(store)) for p in store.rglob("*") if p.is_file()}
    assert kept == {"config.yaml", "report.md", "figures/margins.png"}
    assert link is not None
    assert f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}" in link
    assert f"make ui MLFLOW_URI=sqlite:///{folder.parent}/mlflow.db" in link


def test_a_summary_is_a_finished_run_of_its_own(folder: Path) -> None:
    (folder / "comparison.md").write_text("# Comparison\n")
    paths = [folder / "comparison.md", folder / "absent.png"]
    line = tracking(folder).summary("comparison", {"base/accuracy": 0.9}, {"sweep": "s1"}, paths)
    client, run = only_run(folder)
    assert run.info.status == "FINISHED" and run.info.run_name == "comparison"
    assert run.data.metrics == {"base/accuracy": 0.9}
    assert run.data.tags["sweep"] == "s1"
    assert [f.path for f in client.list_artifacts(run.info.run_id)] == ["comparison.md"]
    assert line is not None and "make ui" in line
    assert NoTracking().summary("comparison", {}, {}, paths) is None


def test_a_summary_never_raises_for_its_store(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder.parent / "mlflow.db").write_text("not a database")
    assert tracking(folder).summary("comparison", {}, {}, []) is None
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "comparison is not (all) in the store" in warning


def test_a_failed_run_ends_as_failed_and_keeps_its_curves(folder: Path) -> None:
    tracker = tracking(folder)
    start(tracker, folder)
    (logger,) = tracker.logger()
    logger.log_metrics({"train/loss": 0.7}, 3)
    tracker.finish({}, [folder / "report.md"], "FAILED")
    _, run = only_run(folder)
    assert run.info.status == "FAILED"
    assert run.data.metrics == {"train/loss": 0.7}
    assert tracker.finish({}, [], "FINISHED") is None  # ended once
    assert only_run(folder)[1].info.status == "FAILED"


def test_a_resumed_run_continues_its_mlflow_run(folder: Path) -> None:
    for max_steps in (10, 20):
        tracker = tracking(folder)
        start(tracker, folder, lr=0.1, max_steps=max_steps)
        (logger,) = tracker.logger()
        logger.log_metrics({"train/loss": 0.5}, max_steps)
        tracker.finish({}, [], "FAILED" if max_steps == 10 else "FINISHED")
    client, run = only_run(folder)
    assert run.info.status == "FINISHED"
    assert [p.step for p in client.get_metric_history(run.info.run_id, "train/loss")] == [10, 20]
    assert run.data.params == {"lr": "0.1", "max_steps": "10"}
    assert run.data.tags["resumed_with"] == "max_steps=20"


def test_a_run_id_of_another_store_begins_a_new_run(folder: Path) -> None:
    (folder / "mlflow_run_id").write_text("0" * 32)
    tracker = tracking(folder)
    start(tracker, folder)
    tracker.finish({}, [], "FINISHED")
    assert (folder / "mlflow_run_id").read_text().strip() == only_run(folder)[1].info.run_id


def test_processes_that_start_together_share_a_fresh_store(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
import mmreward.mlflow_logger, mlflow.store.tracking.sqlalchemy_store
# Everything heavy is imported once, so that the jobs reach the store at the same moment.
from mmreward.tracking import MLflowTracking

def job(folder):
    folder.mkdir()
    (folder / "config.yaml").write_text("")
    tracker = MLflowTracking(root=folder.parent, uri=None, experiment="trial")
    tracker.start(folder.name, {"job": folder.name}, {}, folder / "config.yaml", folder)
    for step in range(20):
        tracker.logger()[0].log_metrics({"loss": float(step)}, step)
    tracker.finish({"accuracy": 1.0}, [], "FINISHED")

children = []
for n in range(4):
    child = os.fork()
    if child == 0:
        job(Path(sys.argv[1]) / f"job{n}")
        sys.exit()
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] for child in children) > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "MLflow at" not in done.stderr

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("trial").experiment_id])
    assert sorted(run.data.params["job"] for run in runs) == ["job0", "job1", "job2", "job3"]
    for run in runs:
        assert run.info.status == "FINISHED"
        curve = client.get_metric_history(run.info.run_id, "loss")
        assert [p.value for p in curve] == list(range(20))


@pytest.mark.parametrize("silent", [False, True], ids=["refused", "no answer"])
def test_a_server_that_cannot_be_reached_costs_one_warning(
    folder: Path, silent: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if silent:
            server.listen()
        tracker = tracking(folder, f"http://user:secret@127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        start(tracker, folder, lr=0.1)
        assert time.monotonic() - began < 10
        (logger,) = tracker.logger()
        logger.log_metrics({"train/loss": 0.5}, 1)
        logger.finalize("success")
        assert tracker.finish({"test/accuracy": 1.0}, [], "FINISHED") is None
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "not tracked" in warning
    assert "secret" not in warning


def test_only_rank_zero_writes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    tracker = tracking(folder)
    start(tracker, folder)
    (logger,) = tracker.logger()  # callbacks that need a logger find one on every rank
    logger.log_metrics({"train/loss": 0.5}, 1)
    logger.finalize("success")
    assert tracker.finish({"test/accuracy": 1.0}, [], "FINISHED") is None
    assert sorted(p.name for p in folder.parent.rglob("*")) == ["config.yaml", "first"]


class Store:
    """Stands in for a client: slow, and absent for its first `failures` requests."""

    def __init__(self, failures: int = 0, seconds: float = 0.0) -> None:
        self.failures, self.seconds = failures, seconds
        self.steps: list[int] = []

    def log_batch(self, run_id: str, metrics: list[Any]) -> None:
        time.sleep(self.seconds)
        self.failures -= 1
        if self.failures >= 0:
            raise ConnectionError("away")
        assert len(metrics) <= 1000
        self.steps += [point.step for point in metrics]


def test_training_does_not_wait_for_a_slow_store() -> None:
    store = Store(seconds=0.2)
    curves = MLflowCurves(store, "run", pytest.fail, seconds=0.0)  # type: ignore[arg-type]
    began = time.monotonic()
    for step in range(2500):
        curves.log_metrics({"loss": 1.0}, step)
    # Sent one by one these would have taken 500 seconds.
    assert time.monotonic() - began < 2
    curves.finalize("success")
    assert store.steps == list(range(2500))


def test_curves_survive_a_server_that_is_away_for_a_while() -> None:
    store, reasons = Store(failures=2), []
    curves = MLflowCurves(store, "run", reasons.append, seconds=0.0)  # type: ignore[arg-type]
    for step in range(6):
        curves.log_metrics({"loss": 1.0}, step)
        time.sleep(0.02)
    curves.close()
    assert store.steps == list(range(6))
    assert [str(reason) for reason in reasons] == ["away"]


def test_curves_that_are_lost_are_told() -> None:
    reasons: list[object] = []
    curves = MLflowCurves(Store(failures=99), "run", reasons.append)  # type: ignore[arg-type]
    curves.log_metrics({"loss": 1.0, "lr": 0.1}, 0)
    curves.close()
    assert [str(reason) for reason in reasons] == ["away", "2 points were never taken"]


def test_lightning_draws_the_curves(folder: Path) -> None:
    """A real Trainer on the logger: one fit and one test in one MLflow run."""
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import LearningRateMonitor

    class Line(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.line = torch.nn.Linear(1, 1)

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            loss = self.line(batch).square().mean()
            self.log("train/loss", loss)
            return loss

        def test_step(self, batch: torch.Tensor, index: int) -> None:
            self.log("test/loss", self.line(batch).square().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    tracker = tracking(folder)
    start(tracker, folder)
    trainer = Trainer(
        max_steps=4,
        logger=tracker.logger(),
        log_every_n_steps=1,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[LearningRateMonitor()],
    )
    loader = torch.utils.data.DataLoader(torch.ones(4, 1))
    trainer.fit(Line(), loader)
    trainer.test(Line(), loader, verbose=False)
    tracker.finish({}, [], "FINISHED")
    client, run = only_run(folder)
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 4
    assert {"train/loss", "test/loss", "lr-SGD"} <= run.data.metrics.keys()
    assert run.info.status == "FINISHED"


def test_an_address_without_a_scheme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tracking\.uri=localhost:5000"):
        MLflowTracking(root=tmp_path, uri="localhost:5000", experiment="trial")


def test_no_tracking_leaves_nothing(folder: Path) -> None:
    tracker = NoTracking()
    tracker.start("name", {}, {}, folder / "config.yaml", folder)
    assert tracker.logger() == []
    assert tracker.finish({"accuracy": 1.0}, [], "FINISHED") is None
    assert sorted(p.name for p in folder.parent.rglob("*")) == ["config.yaml", "first"]


def test_the_default_store_is_opened_by_make_ui(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parents[1])
    node = OmegaConf.load(ROOT / "conf" / "tracking" / "mlflow.yaml")
    assert node.pop("_target_") == "mmreward.tracking.MLflowTracking"
    tracker = MLflowTracking(**node)
    start(tracker, folder)
    link = tracker.finish({}, [], "FINISHED")
    assert link is not None
    assert link.startswith("make ui, then http://127.0.0.1:5000/#/experiments/")
    assert (folder.parents[1] / "outputs" / "mlflow.db").exists()


def test_importing_tracking_is_cheap_and_telemetry_is_off_before_mlflow_is_there() -> None:
    program = (
        "import sys, os; from mmreward.tracking import MLflowTracking;"
        "MLflowTracking(root='nowhere', uri=None, experiment='x');"
        "assert not {'mlflow', 'torch', 'lightning'} & sys.modules.keys();"
        "assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == 'true';"
        "from mlflow.telemetry import get_telemetry_client; assert get_telemetry_client() is None"
    )
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=60)
