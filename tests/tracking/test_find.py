"""Runs named by their MLflow id: their own folder, or what the store keeps of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from run_folders import end, train

from mmreward.errors import UserError
from mmreward.tracking import MLflowTracking
from mmreward.tracking.find import find_runs
from mmreward.tracking.store import known_ids

NONE = {"_target_": "mmreward.tracking.NoTracking"}


@pytest.fixture
def tracker(folder: Path) -> MLflowTracking:
    return MLflowTracking(root=folder.parent, uri=None, experiment="trial")


@pytest.fixture
def run_id(folder: Path, tracker: MLflowTracking) -> str:
    """Of a finished run."""
    tracker.start(folder)
    train(folder, 1, 2)
    end(folder)
    (folder / "checkpoints").mkdir()
    tracker.finish(folder)
    (found,) = known_ids(folder)
    assert found is not None
    return found


def test_a_run_id_is_told_from_a_folder(folder: Path, tracker: MLflowTracking) -> None:
    name = "0123456789abcdef" * 2
    with pytest.raises(UserError, match=f"run={name} is no run of"):
        tracker.find(name, "run")
    for other in ("outputs/train", name[:-1], name.upper(), f"{name}0"):
        assert tracker.find(other, "run") is None


def test_the_runs_own_folder_is_used_where_it_is(
    folder: Path, tracker: MLflowTracking, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("run", "resume", "init_from", "runs"):
        assert tracker.find(run_id, key) == folder
    monkeypatch.chdir(folder.parents[1])
    assert tracker.find(run_id, "run") == Path("outputs/first"), "short, as it was printed"


def test_elsewhere_a_copy_is_downloaded_once(
    folder: Path, tracker: MLflowTracking, run_id: str, tmp_path: Path
) -> None:
    folder.rename(tmp_path / "elsewhere")
    copy = tracker.find(run_id, "run")
    assert copy == folder.parent / "downloads" / run_id
    for name in ("config.yaml", "metrics.json", "report.md", "curves.jsonl", "run.json"):
        assert (copy / name).read_text() == (tmp_path / "elsewhere" / name).read_text(), name
    assert (copy / "figures" / "margins.png").is_file()
    (copy / "scores.jsonl").write_text("work of a later evaluation\n")
    assert tracker.find(run_id, "run") == copy
    assert (copy / "scores.jsonl").is_file()
    # New results of the copy go to the same run.
    assert tracker.finish(copy) is not None
    assert known_ids(copy) == [run_id]


def test_another_run_in_the_same_folder_is_not_mistaken_for_it(
    folder: Path, tracker: MLflowTracking, run_id: str
) -> None:
    (folder / "mlflow_run_id").write_text("f" * 32 + "\n")
    assert tracker.find(run_id, "run") != folder


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_not_here(
    folder: Path, tracker: MLflowTracking, run_id: str
) -> None:
    folder.chmod(0)
    assert tracker.find(run_id, "run") == folder.parent / "downloads" / run_id
    folder.chmod(0o700)


def test_resuming_needs_the_folder_itself(
    folder: Path, tracker: MLflowTracking, run_id: str, tmp_path: Path
) -> None:
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="the checkpoints of base s0 lie in its folder"):
        tracker.find(run_id, "resume")


def test_what_is_not_there_is_told(
    folder: Path, tracker: MLflowTracking, run_id: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"runs={'0' * 32} is no run of MLflow at sqlite"):
        tracker.find("0" * 32, "runs")
    shutil.rmtree(folder)
    shutil.rmtree(folder.parent / "mlflow-artifacts")
    with pytest.raises(UserError, match=r"keeps no config\.yaml of base s0"):
        tracker.find(run_id, "run")
    away = MLflowTracking(root=tmp_path, uri="http://127.0.0.1:9", experiment="trial")
    with pytest.raises(UserError, match="cannot be asked"):
        away.find(run_id, "run")


def test_every_key_that_names_runs(
    folder: Path, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = {
        "_target_": "mmreward.tracking.MLflowTracking",
        "root": str(folder.parent),
        "uri": None,
        "experiment": "trial",
    }
    given = {"run": run_id, "init_from": run_id, "resume": None, "runs": ["outputs/x", run_id]}
    cfg = OmegaConf.create({**given, "tracking": node})
    find_runs(cfg)
    assert cfg.run == cfg.init_from == str(folder) and cfg.resume is None
    assert cfg.runs == ["outputs/x", str(folder)]
    with pytest.raises(UserError, match=f"run={run_id} does not exist, and tracking=none has no"):
        find_runs(OmegaConf.create({"run": run_id, "tracking": NONE}))

    # What names folders asks nobody, even where a store could call a run like that.
    monkeypatch.chdir(folder.parent)
    (folder.parent / run_id).mkdir()
    for runs in ({"run": run_id}, {"run": "???"}, {"runs": [run_id, "first"]}):
        cfg = OmegaConf.create({**runs, "tracking": {"_target_": "nothing.to.build"}})
        before = cfg.copy()
        find_runs(cfg)
        assert cfg == before
