"""Sweeps of run.py as a user starts them: jobs of two ranks, a killed one, tasks but training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from launched import members, until

from mmreward.config import ROOT
from mmreward.tracking import sweep_name

TINY = (
    "model.backbone.hidden_size=32",
    "model.backbone.layers=1",
    "model.backbone.vision_depth=1",
    "data.source.train_records=64",
    "data.batch_size=4",
    "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "evaluation.conditions=[intact]",
    "hydra.sweep.dir=sweep",
)
TWO_RANKS = (
    "trainer=ddp",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "trainer.precision=32-true",
)


def start(folder: Path, *arguments: str, options: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A sweep of run.py; `options` are Python's."""
    env = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    return subprocess.Popen(
        [sys.executable, *options, str(ROOT / "run.py"), "-m", *arguments],
        cwd=folder,
        env=env | {"OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    screen, _ = process.communicate(timeout=300)
    return process.returncode, screen


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def second_rank(job: Path) -> int | None:
    """The process of rank one of a job: the one whose command line names its folder. One that it
    forks has the same words for a moment, and a higher number."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:  # ended meanwhile
            continue
        if any(word.startswith("hydra.job.name=") for word in words) and any(
            word.startswith("hydra.run.dir=") and str(job) in word for word in words
        ):
            found.append(int(path.parent.name))
    return min(found, default=None)


@pytest.mark.slow
def test_jobs_of_two_ranks_one_of_them_killed_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NTASKS", "JOB_ID", "PROCID", "LOCALID", "NODEID"):  # in a batch script of SLURM
        monkeypatch.setenv(f"SLURM_{name}", "4" if name == "NTASKS" else "0")
    line = (*TINY, *TWO_RANKS, "trainer.max_steps=16", "seed=0,1")
    process = start(tmp_path, *line)
    job = tmp_path / "sweep" / "1"
    rank = until(lambda: second_rank(Path("sweep/1")), 200)
    until((job / "checkpoints" / "last.ckpt").is_file, 100)
    group = os.getpgid(rank)
    os.kill(group, signal.SIGKILL)  # rank zero, which leads the group
    assert until(lambda: not members(group), 30), "the other rank ends with it"
    code, screen = ended(process)
    assert code == 1 and "killed by SIGKILL" in screen, screen
    assert "no comparison: 1 of the sweep's jobs" in screen
    trained = read(tmp_path / "sweep/0/metrics.json")["training"]
    assert trained["steps"] == 16
    before = (tmp_path / "sweep/0/scores.jsonl").stat().st_mtime_ns

    code, screen = ended(start(tmp_path, *line))
    assert code == 0, screen
    assert (tmp_path / "sweep/0/scores.jsonl").stat().st_mtime_ns == before
    assert read(job / "metrics.json")["training"]["steps"] == 16
    steps = [json.loads(row)["step"] for row in (job / "curves.jsonl").read_text().splitlines()]
    assert steps.count(1) == 1, "it went on from its checkpoint"
    folders = {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()}
    assert folders == {"0", "1", "figures"}, "no rank began a sweep of its own"
    outputs = {path.name for path in (tmp_path / "outputs").iterdir() if path.is_dir()}
    assert outputs <= {"mlflow-artifacts"}

    comparison = read(tmp_path / "sweep/comparison.json")
    (variant,) = comparison["benchmarks"]["digits"]["variants"].values()
    measured = [read(tmp_path / f"sweep/{i}/metrics.json") for i in (0, 1)]
    accuracies = [each["benchmarks"]["digits"]["accuracy"] for each in measured]
    assert variant["seeds"] == 2 and variant["accuracy"] == pytest.approx(sum(accuracies) / 2)
    for accuracy in accuracies:
        assert f"{100 * accuracy:.1f} %" in screen

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    tracked = client.search_runs([client.get_experiment_by_name("mmreward").experiment_id])
    assert [run.data.tags["sweep"] for run in tracked] == [sweep_name(tmp_path / "sweep")] * 3
    assert {run.info.status for run in tracked} == {"FINISHED"}


@pytest.mark.slow
def test_a_batch_system_that_ends_a_sweep_leaves_no_run_running(tmp_path: Path) -> None:
    process = start(tmp_path, *TINY, "trainer.max_steps=100000", "seed=0,1")
    until((tmp_path / "sweep" / "0" / "curves.jsonl").is_file, 100)
    process.send_signal(signal.SIGTERM)
    code, screen = ended(process)
    assert code == 143 and "ended by SIGTERM" in screen, screen
    jobs = read(tmp_path / "sweep" / "sweep.json")["jobs"]
    assert [job["status"] for job in jobs] == ["interrupted", "waiting"]
    assert read(tmp_path / "sweep" / "0" / "run.json")["status"] == "KILLED"

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("mmreward").experiment_id])
    assert run.info.status == "KILLED"


@pytest.mark.slow
def test_other_tasks_can_be_swept(tmp_path: Path) -> None:
    line = ("task=audit", "data/source=digits,shapes", "data.source.train_records=32")
    code, screen = ended(start(tmp_path, *line, "max_records=16", "hydra.sweep.dir=sweep"))
    assert code == 0, screen
    for job, source in enumerate(("digits", "shapes")):
        assert source in (tmp_path / f"sweep/{job}/report.md").read_text()
        assert "data audit: " in (tmp_path / f"sweep/{job}/console.log").read_text()
    assert "comparison" not in screen

    code, screen = ended(
        start(tmp_path, "task=evaluate", "run=nowhere,elsewhere", "hydra.sweep.dir=other")
    )
    assert code == 1
    for run in ("nowhere", "elsewhere"):
        (shown,) = [row for row in screen.splitlines() if f"FAILED  run={run} " in row]
        assert f"error: run={run} does not exist" in shown
    assert "Traceback" not in (tmp_path / "other/0/console.log").read_text()


def imported(log: str) -> list[str]:
    """The modules in the order in which Python, asked by -X importtime, imported them."""
    rows = [row for row in log.splitlines() if row.startswith("import time:")]
    return [row.rpartition("|")[2].strip() for row in rows][1:]


@pytest.mark.slow
def test_a_job_imports_next_to_nothing_itself(tmp_path: Path) -> None:
    """The process that it is forked from has imported all that a training needs, MLflow too."""
    began = time.time()
    code, screen = ended(
        start(tmp_path, *TINY, "trainer.max_steps=1", "seed=0,1,2", options=["-X", "importtime"])
    )
    assert code == 0, screen
    assert {"mlflow", "torch", "lightning.pytorch"} <= set(imported(screen))
    sweep = tmp_path / "sweep"
    ordered = [(sweep / str(job) / "job.json").stat().st_mtime for job in range(3)]
    for job in range(3):
        own = imported((sweep / str(job) / "console.log").read_text())
        heavy = [m for m in own if m.split(".")[0] in ("lightning", "mlflow", "torch")]
        assert len(heavy) < 20 and len(own) < 200, own  # of thousands
    # Until the training has begun, which claims its folder.
    begun = [(sweep / str(job) / "config.yaml").stat().st_mtime for job in range(3)]
    starts = [at - order for at, order in zip(begun, ordered, strict=True)]
    assert max(starts) < (ordered[0] - began) / 10, starts
    assert min(starts[1:]) < 0.5, starts  # the quicker one: what else runs may hold up either
