"""The end of a sweep: what is compared, what is left out, where it is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import without_torch
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from rich.console import Console
from sweeps import sweep

from mmreward.config import CONF
from mmreward.errors import UserError
from mmreward.tasks import compare
from mmreward.tasks.sweep import CompareSweep, compare_sweep


def ended(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What Hydra's call at the end of the sweep prints."""
    CompareSweep().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}}))
    return capsys.readouterr().out


def test_finished_runs_are_compared_and_logged_and_the_others_named(tmp_path, capsys):
    folder = sweep(tmp_path / "mine", "done", "done before", "done", "failed")
    screen = ended(folder, capsys)
    comparison = json.loads((folder / "comparison.json").read_text())
    found = comparison["benchmarks"]["digits"]["variants"]
    assert {name: row["runs"] for name, row in found.items()} == {
        "base": ["base s0", "base s1"], "enhanced": ["enhanced s0"]
    }  # fmt: skip
    told = "job 3 (model=enhanced seed=1): killed by SIGKILL"
    assert comparison["jobs_left_out"][0].startswith(told)
    assert told in (folder / "report.md").read_text()
    assert f"left out: {told}" in screen and told in (folder / "comparison.md").read_text()
    assert f"{100 * found['base']['accuracy']:.1f} [" in screen
    for name in ("comparison.png", "report.md", "report.html", "figures"):
        assert (folder / name).exists(), name

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder}/tracked/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    assert tracked.data.tags["sweep"] == "mine" and tracked.info.status == "FINISHED"
    accuracy = found["enhanced"]["accuracy"]
    assert tracked.data.metrics["variants/digits enhanced accuracy"] == pytest.approx(accuracy)
    kept = {item.path for item in client.list_artifacts(tracked.info.run_id)}
    assert {"comparison.json", "comparison.md", "comparison.png", "report.html"} <= kept
    assert "figures" in kept
    # MLflow's page shows the newest ten runs, unless it is told of a view that shows all.
    assert "compareRunsMode=CHART&viewStateShareKey=mine" in screen
    tags = client.get_experiment_by_name("test").tags
    view = json.loads(tags["mlflow.sharedViewState.mine"])
    assert view["searchFilter"] == 'tags.sweep = "mine"' and view["runsHiddenMode"] == "SHOW_ALL"
    assert "metrics.`accuracy/digits`" in view["selectedColumns"]


def test_one_finished_job_leaves_nothing_to_compare(tmp_path, capsys):
    folder = sweep(tmp_path / "sweep", "done", "failed")
    screen = ended(folder, capsys)
    assert screen.startswith("no comparison: 1 of the sweep's jobs left a run behind")
    assert not (folder / "comparison.json").exists()


@pytest.mark.slow
def test_an_earlier_comparison_is_not_taken_for_this_one(tmp_path, capsys):
    folder = sweep(tmp_path / "sweep", "done", "done", "done")
    ended(folder, capsys)
    of_runs = {"0", "1", "2", "sweep.json", "mlflow_run_id", "tracked"}
    assert {"comparison.png", "report.html", "figures"} < {path.name for path in folder.iterdir()}
    (folder / "figures" / "of another set.png").touch()
    ended(folder, capsys)
    assert not (folder / "figures" / "of another set.png").exists()
    for job in ("0", "2"):
        (folder / job / "scores.jsonl").unlink()
    assert ended(folder, capsys).startswith("no comparison: 1 of the sweep's jobs")
    assert {path.name for path in folder.iterdir()} == of_runs
    # Without a comparison, what has its names is not its own.
    (folder / "report.md").touch()
    ended(folder, capsys)
    assert (folder / "report.md").exists()


@pytest.mark.parametrize(
    "content", [b"", b"seed: [0", b"\xff\xfe", b"seed: 0\nmodel: ${oc.env:HOME}"]
)
def test_a_run_whose_config_is_damaged_is_left_out(tmp_path, capsys, content):
    """The first one: the comparison asks another one where to log."""
    folder = sweep(tmp_path / "sweep", "done", "done", "done")
    (folder / "0" / "config.yaml").write_bytes(content)
    screen = ended(folder, capsys)
    assert f"left out: {folder}/0/config.yaml " in screen and "Traceback" not in screen
    comparison = json.loads((folder / "comparison.json").read_text())
    assert [run["name"] for run in comparison["runs"]] == ["base s1", "enhanced s0"]
    assert (folder / "mlflow_run_id").is_file()


def test_what_breaks_the_comparison_does_not_break_the_sweep(tmp_path, capsys, monkeypatch):
    folder = sweep(tmp_path / "sweep", "done", "done")

    def broken(*_: object) -> None:
        raise ZeroDivisionError("of a bug")

    monkeypatch.setattr(compare, "write_comparison", broken)
    screen = ended(folder, capsys)
    assert "ZeroDivisionError: of a bug" in screen
    assert f"python run.py task=compare runs=[{folder}] makes it" in screen


@pytest.mark.slow
def test_the_command_that_is_named_then_makes_what_the_sweep_would_have_made(tmp_path, capsys):
    folder = sweep(tmp_path / "sweep", "done", "done", "done", "failed")
    screen = ended(folder, capsys)
    out = tmp_path / "out"
    done = without_torch.run(
        "task=compare", f"runs=[{folder}]", "tracking=none", f"hydra.run.dir={out}"
    )
    assert done.returncode == 0, done.stderr
    left = {
        path.name
        for path in folder.iterdir()
        if path.name.startswith(("comp", "rep", "fig", "summary"))
    }
    assert left == {path.name for path in out.iterdir()}
    for name in ("comparison.json", "comparison.md", "report.md"):
        assert (out / name).read_text() == (folder / name).read_text(), name
    tables, _ = screen.split("report: ")
    assert tables == done.stdout.split("report: ")[0]
    assert "left out: job 3 (model=enhanced seed=1): killed by SIGKILL" in tables


@pytest.mark.slow
def test_one_seed_three_times_is_no_three_seeds(tmp_path, capsys):
    folder = sweep(tmp_path / "sweep", "done", "done", "done", "done", seeds=(0, 0))
    screen = ended(folder, capsys)
    assert screen.count("has the same seed as") == 2 and "1 seed each" in screen


@pytest.mark.slow
def test_a_sweep_of_a_launcher_that_keeps_no_list_of_jobs(tmp_path):
    folder = sweep(tmp_path / "sweep", "done", "done", "done")
    (folder / "sweep.json").unlink()
    compare_sweep(folder, Console())
    assert (folder / "comparison.md").is_file()
    with pytest.raises(UserError, match="0 of the sweep's jobs"):
        compare_sweep(tmp_path / "nowhere", Console())


@pytest.mark.parametrize("path", sorted((CONF / "sweep").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_sweep_in_conf_composes_job_by_job(path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"+sweep={path.stem}"], return_hydra_config=True)
        assert cfg.hydra.launcher._target_.endswith("ProcessLauncher")
        params = [f"{key}={value}" for key, value in cfg.hydra.sweeper.params.items()]
        parsed = OverridesParser.create().parse_overrides(params)
        (jobs,) = BasicSweeper.split_arguments(parsed, None)
        for job in jobs:
            assert not OmegaConf.missing_keys(compose("config", [f"+sweep={path.stem}", *job]))


def test_the_variants_are_six_with_three_seeds_base_first() -> None:
    params = OmegaConf.load(CONF / "sweep" / "variants.yaml").hydra.sweeper.params
    assert params.model.split(",")[0] == "base" and len(params.model.split(",")) == 6
    assert params.seed == "0,1,2"
