"""The command line as a user meets it: real processes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from run_folders import run_folder

from mmreward.config import ROOT
from mmreward.tracking import MLflowTracking

TINY = (
    "model.backbone.hidden_size=32",
    "model.backbone.layers=1",
    "model.backbone.vision_depth=1",
    "data.source.train_records=64",
    "data.batch_size=8",
    "trainer.max_steps=4",
    "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1",
)


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    env |= {"OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def cpu_seconds(command: list[str], folder: Path) -> float:
    """User and system time of one finished command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("question", [["--help"], ["--cfg", "job"]])
def test_questions_are_answered_at_once_and_without_torch(
    tmp_path: Path, question: list[str]
) -> None:
    # Processor seconds, the least of three: under one on a quiet machine (--help takes six times
    # the mere import of Hydra, nearly all of it Hydra's own), and on a slow or busy one under ten
    # times that import: what else runs is not the program's doing.
    times, imports = [], []
    for _ in range(3):
        imports.append(cpu_seconds([sys.executable, "-c", "import hydra"], tmp_path))
        command = [sys.executable, str(ROOT / "run.py"), *question]
        times.append(cpu_seconds(command, tmp_path))
    assert min(times) < max(1.0, 10 * min(imports)), (times, imports)
    assert "bradleyterry" in run(tmp_path, *question).stdout.lower()
    probe = (
        "import sys, runpy; sys.argv = ['run.py', '--cfg', 'job']\n"
        f"try: runpy.run_path({str(ROOT / 'run.py')!r}, run_name='__main__')\n"
        "finally: assert not {'torch', 'lightning', 'transformers', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["loss=contrastiv"], "loss/contrastiv"),
        (["seed=abc"], "seed=abc"),
        (["trainer.max_stepz=3"], "trainer.max_stepz"),
        (["+nonsense=3"], "nonsense"),
        (["task=evaluate"], "run must be given"),
        (["task=evaluate", "run=/nowhere"], "run=/nowhere does not exist"),
        (["task=evaluate", "run=."], "no config.yaml"),
        (["task=evaluate", "run=.", "model=base"], "model is neither"),
        (["-m", "seed=0", "hydra.sweep.dir=/dev/null/x"], "/dev/null/x"),
    ],
)
def test_mistakes_end_in_one_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = run(tmp_path, *arguments)
    assert result.returncode == 1
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and said in lines[0], result.stderr
    assert list(tmp_path.glob("outputs/*/*/*/config.yaml")) == []


def test_ctrl_c_while_torch_is_imported_prints_nothing(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = run(tmp_path, PYTHONPATH=path)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


def test_the_traceback_comes_when_asked_for(tmp_path: Path) -> None:
    result = run(tmp_path, "task=evaluate", "run=/nowhere", HYDRA_FULL_ERROR="1")
    assert result.returncode == 1 and "Traceback" in result.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(working folder, what a small run printed)."""
    folder = tmp_path_factory.mktemp("work")
    result = run(folder, *TINY)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def only_run(folder: Path) -> Path:
    (path,) = (p.parent for p in folder.glob("outputs/train/*/*/config.yaml"))
    return path


def test_the_screen_shows_data_model_result_and_folder(finished: tuple[Path, str]) -> None:
    folder, screen = finished
    for expected in (
        "data: digits",
        "1,038",
        "trainable of",
        "layout: shared",
        "95 % interval",
        "image greyed out",
        "image of another record",
        "untrained model",
        "longer answer wins",
        "random",
        f"run folder: {only_run(folder).relative_to(folder)}",
    ):
        assert expected in screen, expected


def test_the_run_is_in_mlflow_with_its_curves(finished: tuple[Path, str]) -> None:
    import mlflow

    folder, _ = finished
    client = mlflow.MlflowClient(f"sqlite:///{folder}/outputs/mlflow.db")
    experiment = client.get_experiment_by_name("mmreward")
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert list(tracked.data.params) == [
        "model", "loss", "backbone", "head", "pooling", "lr", "batch", "seed", "data",
    ]  # fmt: skip
    assert tracked.data.params["loss"] == "bradley_terry"
    assert {"commit", "host", "layout"} <= set(tracked.data.tags)
    assert tracked.info.run_name.startswith("base s0 hidden_size=32")
    (data,) = tracked.inputs.dataset_inputs
    assert data.dataset.name == "digits" and '"train": 64' in data.dataset.profile
    for curve in ("loss", "accuracy", "lr", "grad_norm", "pairs_per_second"):
        points = client.get_metric_history(tracked.info.run_id, f"train/{curve}")
        assert [point.step for point in points] == [1, 2, 3, 4], curve
    metrics = json.loads((only_run(folder) / "metrics.json").read_text())
    accuracy = metrics["benchmarks"]["digits"]["accuracy"]
    assert tracked.data.metrics["accuracy/digits"] == pytest.approx(accuracy)
    names = {item.path for item in client.list_artifacts(tracked.info.run_id)}
    assert {"config.yaml", "overrides.yaml", "report.md", "metrics.json", "figures"} <= names


def test_the_last_line_opens_the_charts_of_all_runs(finished: tuple[Path, str]) -> None:
    folder, screen = finished
    last = screen.splitlines()[-1]
    elsewhere = f"make -C {ROOT} ui MLFLOW_URI=sqlite:///{folder}/outputs/mlflow.db"
    assert last.startswith(f"{elsewhere}, then http://127.0.0.1:5000/#/experiments/")
    assert last.endswith("/runs?workflowType=machine_learning&compareRunsMode=CHART")


@pytest.mark.slow
def test_evaluate_finds_a_run_by_its_mlflow_id_and_repeats_nothing(
    finished: tuple[Path, str],
) -> None:
    folder, _ = finished
    path = only_run(folder)
    before = (path / "scores.jsonl").read_bytes()
    run_id = (path / "mlflow_run_id").read_text().strip()
    result = run(folder, "task=evaluate", f"run={run_id}")
    assert result.returncode == 0, result.stderr
    assert "image greyed out" in result.stdout
    assert f"run folder: {path.relative_to(folder)}" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("make ")
    assert (path / "scores.jsonl").read_bytes() == before
    folders = {item.name for item in (folder / "outputs").iterdir() if item.is_dir()}
    assert folders == {"train", "mlflow-artifacts"}, "an evaluation makes no folder of its own"


@pytest.mark.slow
def test_an_evaluation_goes_to_the_store_its_run_was_tracked_in(
    finished: tuple[Path, str],
) -> None:
    import mlflow

    folder, _ = finished
    copy = folder / "copy"
    shutil.copytree(only_run(folder), copy)
    for absent in ("mlflow_run_id", "metrics.json"):
        (copy / absent).unlink()
    config = OmegaConf.load(copy / "config.yaml")
    config.tracking.uri = uri = f"sqlite:///{folder}/own.db"
    OmegaConf.save(config, copy / "config.yaml")
    MLflowTracking(folder / "outputs", uri, "mmreward").sync(copy)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("mmreward").experiment_id
    (tracked,) = client.search_runs([experiment])
    assert "accuracy/digits" not in tracked.data.metrics
    result = run(folder, "task=evaluate", "run=copy")
    assert result.returncode == 0, result.stderr
    assert f" ui MLFLOW_URI={uri}, then http" in result.stdout
    (tracked,) = client.search_runs([experiment])
    metrics = json.loads((copy / "metrics.json").read_text())
    accuracy = metrics["benchmarks"]["digits"]["accuracy"]
    assert tracked.data.metrics["accuracy/digits"] == pytest.approx(accuracy)


@pytest.mark.slow
def test_a_comparison_of_tracked_runs_is_tracked(finished: tuple[Path, str]) -> None:
    import mlflow

    folder, _ = finished
    path = only_run(folder)
    other = folder / "other"
    other.mkdir()
    for name in ("records.jsonl", "scores.jsonl"):
        shutil.copy(path / name, other)
    run_id = (path / "mlflow_run_id").read_text().strip()
    result = run(folder, "task=compare", f"runs=[{run_id}]", f"tables=[{other}]")
    assert result.returncode == 0, result.stderr
    client = mlflow.MlflowClient(f"sqlite:///{folder}/outputs/mlflow.db")
    experiment = client.get_experiment_by_name("mmreward").experiment_id
    (summary,) = client.search_runs([experiment], "attributes.run_name = 'comparison'")
    assert summary.info.status == "FINISHED"
    accuracy = json.loads((path / "metrics.json").read_text())["benchmarks"]["digits"]["accuracy"]
    assert summary.data.metrics["variants/digits base accuracy"] == pytest.approx(accuracy)
    names = {item.path for item in client.list_artifacts(summary.info.run_id)}
    assert {"report.md", "report.html", "comparison.json", "figures"} <= names


@pytest.mark.slow
def test_a_finished_run_can_go_on_in_its_folder(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    path = only_run(folder)
    arguments = (f"resume={path.relative_to(folder)}", "trainer.max_steps=6", "tracking=none")
    result = run(folder, *arguments)
    assert result.returncode == 0, result.stderr
    assert only_run(folder) == path
    metrics = json.loads((path / "metrics.json").read_text())
    assert metrics["training"]["steps"] == 6


@pytest.mark.slow
def test_two_ranks_train_one_run(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        *TINY,
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.precision=32-true",
    )
    assert result.returncode == 0, result.stderr
    metrics = json.loads((only_run(tmp_path) / "metrics.json").read_text())
    assert metrics["training"]["steps"] == 4
    assert result.stdout.count("run folder:") == 1
    assert result.stdout.count("ui MLFLOW_URI=") == 1
    assert "MLflow at" not in result.stdout + result.stderr


@pytest.mark.slow
def test_the_folder_of_a_sweep_can_be_uploaded(tmp_path: Path) -> None:
    run_folder(tmp_path / "sweep" / "0")
    run_folder(tmp_path / "sweep" / "1")
    done = run(tmp_path, "task=sync", "run=sweep", "tracking.root=store")
    assert done.returncode == 0, done.stderr
    assert "uploaded: sweep/0" in done.stdout and "uploaded: sweep/1" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-m", "sweep=variants"], "write +sweep=…"),
        (["+sweep=variants"], "begin with python run.py -m"),
        (["tracking.uri=localhost:5000"], "tracking.uri=localhost:5000 is not an address"),
    ],
)
def test_a_mistake_leaves_a_sentence_and_no_folder(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = run(tmp_path, *arguments, "hydra.run.dir=mine", "hydra.sweep.dir=mine")
    assert done.returncode == 1
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("config.yaml"))
