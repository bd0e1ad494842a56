"""Which folders task=sync uploads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from mlflow import MlflowClient
from omegaconf import OmegaConf
from run_folders import run_folder

from mmreward.config import CONF, ROOT, register_resolvers
from mmreward.errors import UserError
from mmreward.schema import register_schemas
from mmreward.tasks.sync import run_folders, tracking_node
from mmreward.tracking.base import Summary


def test_every_run_of_a_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    folders = [run_folder(sweep / str(number)) for number in (0, 1, 2, 10)]
    (sweep / "left over").mkdir()
    assert run_folders(sweep) == folders
    assert run_folders(folders[2]) == [folders[2]]
    (folders[2] / "checkpoints").mkdir()
    Summary.write(sweep, "comparison", {}, {}, [])
    assert run_folders(sweep) == [*folders, sweep], "and the comparison, after what it compares"
    for nothing in (tmp_path / "nowhere", sweep / "left over"):
        with pytest.raises(UserError, match=r"holds no run\.json"):
            run_folders(nothing)


def test_runs_lie_as_deep_as_a_sweep_puts_them_and_copies_are_none(tmp_path: Path) -> None:
    places = ("sweep/base/0", "sweep/base/1", "sweep/enhanced/0", "train/base-s0/now")
    folders = [run_folder(tmp_path / "outputs" / place) for place in places]
    for copy in ("mlflow-artifacts/1/artifacts", "downloads/0123"):
        run_folder(tmp_path / "outputs" / copy)
    assert run_folders(tmp_path / "outputs" / "sweep") == folders[:3]
    assert sorted(run_folders(tmp_path / "outputs")) == sorted(folders)
    copy = tmp_path / "outputs" / "downloads" / "0123"
    assert run_folders(copy) == [copy], "asked for by name"


def node(uri: str | None) -> dict[str, object]:
    target = "mmreward.tracking.MLflowTracking"
    return {"_target_": target, "root": "outputs", "uri": uri, "experiment": "trial"}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (node("http://own:1"), "http://own:1"),
        (OmegaConf.load(CONF / "tracking" / "none.yaml"), "http://named:1"),
        (None, "http://named:1"),
        ({"_target_": "mine.MyNoTracking", "uri": "http://own:1"}, "http://own:1"),
    ],
)
def test_a_run_goes_to_the_store_it_was_tracked_with(
    tmp_path: Path, own: dict[str, object] | None, expected: str
) -> None:
    folder = run_folder(tmp_path / "run")
    OmegaConf.save({"seed": 0} | ({"tracking": own} if own else {}), folder / "config.yaml")
    chosen = tracking_node(OmegaConf.create({"tracking": node("http://named:1")}), folder)
    assert chosen.uri == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["tracking.uri=http://named:1"], "http://named:1"),
        (["++tracking.uri=http://named:1"], "http://named:1"),
        (["tracking=mlflow"], None),
        ([], "http://own:1"),
    ],
)
def test_the_store_that_the_command_line_names_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str], expected: str | None
) -> None:
    run, summed_up = run_folder(tmp_path / "run"), tmp_path
    OmegaConf.save({"tracking": node("http://own:1")}, run / "config.yaml")
    Summary.write(summed_up, "comparison", {}, {}, [], node("http://own:1"))
    register_schemas()
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["task=sync", f"run={run}", *line], return_hydra_config=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    HydraConfig.instance().set_config(cfg)
    for folder in (run, summed_up):
        assert tracking_node(cfg, folder).uri == expected


@pytest.mark.slow
def test_what_can_be_uploaded_is_and_the_rest_is_named(tmp_path: Path) -> None:
    """Through run.py: a sweep with a broken job, and the comparison that its server missed."""
    sweep = tmp_path / "sweep"
    for number in range(3):
        folder = run_folder(sweep / "base" / str(number), name=f"run {number}")
        OmegaConf.save({"tracking": node("http://127.0.0.1:9")}, folder / "config.yaml")
    (sweep / "base" / "0" / "config.yaml").write_text("")
    Summary.write(sweep, "comparison", {"a": 0.5}, {}, [], node("http://127.0.0.1:9"))

    def synced(*line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "run.py"), "task=sync", "run=sweep", *line],
            cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    away = synced()
    assert away.returncode == 1 and "uploaded: " not in away.stdout
    (sentence,) = [row for row in away.stderr.splitlines() if row.startswith("error: ")]
    named = "sweep/base/0, sweep/base/1, sweep/base/2, sweep; the first because"
    assert f"4 of 4 were not uploaded: {named}" in sentence

    done = synced("tracking.uri=sqlite:///named.db", "tracking.root=store")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    sent = [row for row in done.stdout.splitlines() if row.startswith("uploaded: ")]
    assert sent == [f"uploaded: sweep{rest}" for rest in ("/base/1", "/base/2", "")]
    (sentence,) = [row for row in done.stderr.splitlines() if row.startswith("error: ")]
    assert "1 of 4 were not uploaded: sweep/base/0; the first because" in sentence
    client = MlflowClient(f"sqlite:///{tmp_path}/named.db")
    runs = client.search_runs([client.get_experiment_by_name("mmreward").experiment_id])
    found = {run.info.run_name: run.info.status for run in runs}
    assert found.keys() == {"run 1", "run 2", "comparison"} and found["comparison"] == "FINISHED"


def test_a_run_finds_its_store_from_any_folder_of_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    here = OmegaConf.create({"tracking": node(None)})
    (tmp_path / "store").mkdir()
    run = run_folder(tmp_path / "run")
    own = {**node(None), "root": str(tmp_path / "store")}
    OmegaConf.save({"tracking": own}, run / "config.yaml")
    assert tracking_node(here, run).root == str(tmp_path / "store")
    (tmp_path / "store").rmdir()  # as on another machine
    assert tracking_node(here, run).root == "outputs"
