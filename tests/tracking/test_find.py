"""Runs named by their MLflow id: their own folder, or what the store keeps of it."""

from __future__ import annotations

import copy
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from run_folders import RESULTS, end, run_folder, train

from mmreward.errors import UserError
from mmreward.tracking import MLflowTracking
from mmreward.tracking.base import RunInfo
from mmreward.tracking.find import find_runs, is_copy, own_folder
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
    found = tracker.find(run_id, "run")
    assert found == folder.parent / "downloads" / run_id and is_copy(found)
    for name in ("config.yaml", "metrics.json", "report.md", "curves.jsonl", "run.json"):
        assert (found / name).read_text() == (tmp_path / "elsewhere" / name).read_text(), name
    assert (found / "figures" / "margins.png").is_file()
    files = [path for path in found.rglob("*") if path.is_file()]
    assert len(files) > 6 and all(path.stat().st_mode & 0o222 == 0 for path in files)
    before = found.stat().st_ino
    assert tracker.find(run_id, "run") == found and found.stat().st_ino == before


@pytest.fixture
def elsewhere(folder: Path, run_id: str) -> Callable[[], AbstractContextManager[None]]:
    """The run's folder is on another machine, where what is done within this context happens."""
    hidden = folder.rename(folder.parents[1] / "hidden")

    @contextmanager
    def there() -> Iterator[None]:
        hidden.rename(folder)
        yield
        folder.rename(hidden)

    return there


def results(folder: Path, accuracy: float) -> None:
    """What another evaluation of the run leaves, in a moment that no file system can confuse with
    the one before."""
    time.sleep(0.02)
    found = copy.deepcopy(RESULTS)
    found["benchmarks"]["digits"]["accuracy"] = accuracy
    (folder / "metrics.json").write_text(json.dumps(found))


def accuracy_of(folder: Path) -> float:
    return json.loads((folder / "metrics.json").read_text())["benchmarks"]["digits"]["accuracy"]


def test_a_run_that_goes_on_elsewhere_is_no_copy_yet(
    folder: Path, tracker: MLflowTracking, run_id: str, elsewhere: Any
) -> None:
    client, _ = tracker.store.connect()
    client.update_run(run_id, "RUNNING")
    wait = f"runs={run_id}: base s0 is running in {folder} .*wait for its end"
    with pytest.raises(UserError, match=wait):
        tracker.find(run_id, "runs")
    with elsewhere():
        tracker.finish(folder)
    tracker.find(run_id, "run")
    # It is resumed there.
    client.update_run(run_id, "RUNNING")
    with pytest.raises(UserError, match=wait):
        tracker.find(run_id, "runs")


def test_a_copy_is_renewed_when_the_run_has_new_results(
    folder: Path, tracker: MLflowTracking, run_id: str, elsewhere: Any
) -> None:
    found = tracker.find(run_id, "runs")
    assert accuracy_of(found) == 0.9
    with elsewhere():
        results(folder, 0.7)
        assert tracker.finish(folder) is not None
    assert tracker.find(run_id, "runs") == found and accuracy_of(found) == 0.7


def test_nothing_of_a_copy_is_uploaded(
    tracker: MLflowTracking, run_id: str, elsewhere: Any, sent: list[str]
) -> None:
    found = tracker.find(run_id, "run")
    sent.clear()
    with pytest.raises(UserError, match="is a copy of what a store keeps"):
        tracker.sync(found)
    assert tracker.finish(found) is None and not sent


def test_what_is_found_out_about_a_copy_is_a_run_of_its_own(
    folder: Path, tracker: MLflowTracking, run_id: str, elsewhere: Any
) -> None:
    """It names its parent, whose run and copy stay as they are; the model is on the disk once."""
    with elsewhere():
        (folder / "model").mkdir()
        (folder / "model" / "model.safetensors").write_bytes(b"weights" * 1000)
        tracker.finish(folder)
    found = tracker.find(run_id, "run")
    own = own_folder(found)
    weights = [at / "model" / "model.safetensors" for at in (found, own)]
    assert weights[0].stat().st_ino == weights[1].stat().st_ino
    content = {p: p.read_bytes() for p in found.rglob("*") if p.is_file()}
    for accuracy in (0.7, 0.6):
        assert own_folder(found) == own, "the same again"
        tracker.start(own)
        results(own, accuracy)
        end(own, results=json.loads((own / "metrics.json").read_text()))
        assert tracker.finish(own) is not None
    client, _ = tracker.store.connect()
    assert client.get_run(run_id).data.metrics["accuracy/digits"] == 0.9
    (own_id,) = known_ids(own)
    run = client.get_run(own_id)
    assert own_id != run_id and run.info.status == "FINISHED"
    assert run.data.metrics["accuracy/digits"] == 0.6
    assert run.data.tags["parent_run"] == run_id and run.data.tags["folder"] == str(own)
    assert {p: p.read_bytes() for p in found.rglob("*") if p.is_file()} == content


@pytest.fixture
def copied(folder: Path, tracker: MLflowTracking, run_id: str, elsewhere: Any) -> Path:
    """A copy with a model."""
    with elsewhere():
        (folder / "model").mkdir()
        (folder / "model" / "model.safetensors").write_bytes(b"old weights")
        tracker.finish(folder)
    found = tracker.find(run_id, "run")
    assert found is not None
    return found


def test_a_run_that_was_trained_on_is_evaluated_anew(
    folder: Path, tracker: MLflowTracking, run_id: str, elsewhere: Any, copied: Path
) -> None:
    weights = Path("model", "model.safetensors")
    before = own_folder(copied)
    with elsewhere():
        results(folder, 0.7)  # an evaluation changes no model
        tracker.finish(folder)
    assert own_folder(tracker.find(run_id, "run")) == before
    with elsewhere():
        (folder / weights).unlink()
        (folder / weights).write_bytes(b"new weights")
        end(folder)
        tracker.finish(folder)
    after = own_folder(tracker.find(run_id, "run"))
    assert (after / weights).read_bytes() == b"new weights"
    assert (before / weights).read_bytes() == b"old weights"


def test_an_own_folder_that_was_not_finished_is_made_again(
    run_id: str, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: RunInfo, folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunInfo, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            own_folder(copied)
    own = own_folder(copied)
    assert RunInfo.read(own).tags["parent_run"] == run_id
    assert (own / "model" / "model.safetensors").samefile(copied / "model" / "model.safetensors")


def test_a_disk_without_hard_links_will_do(
    folder: Path, copied: Path, tracker: MLflowTracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    own = own_folder(copied)
    tracker.sync(own)
    (own_id,) = known_ids(own)
    kept = folder.parent / "mlflow-artifacts" / own_id / "artifacts"
    for at in (own, kept):
        assert (at / "model" / "model.safetensors").read_bytes() == b"old weights"


def test_an_evaluation_of_a_copy_is_of_this_machine_and_of_no_sweep(copied: Path) -> None:
    path = copied / "run.json"
    info = json.loads(path.read_text())
    info["tags"] |= {"host": "far", "commit": "abc", "mlflow.runColor": "#fff"}
    path.chmod(0o644)
    path.write_text(json.dumps(info))
    assert info["tags"]["sweep"] == "s1"
    tags = RunInfo.read(own_folder(copied)).tags
    assert tags["host"] == socket.gethostname() and tags["commit"] == "abc"
    assert not {"sweep", "mlflow.runColor"} & set(tags)


def test_a_run_in_a_folder_called_downloads_is_no_copy(tmp_path: Path) -> None:
    mine = run_folder(tmp_path / "downloads" / "mine")
    end(mine)
    MLflowTracking(root=tmp_path / "outputs", uri=None, experiment="trial").sync(mine)
    assert len(known_ids(mine)) == 1


def test_results_that_an_earlier_version_wrote_into_a_copy_are_kept(
    tracker: MLflowTracking, run_id: str, copied: Path
) -> None:
    (copied / ".mlflow_newest").unlink()
    (copied / "scores.jsonl").write_text("mine\n")
    assert tracker.find(run_id, "run") == copied and not (copied / "scores.jsonl").exists()
    assert (copied.with_suffix(".before") / "scores.jsonl").read_text() == "mine\n"


def test_a_run_that_an_earlier_version_uploaded_is_uploaded_again(
    folder: Path, tracker: MLflowTracking, run_id: str
) -> None:
    """Its tag for the newest file was a date."""
    client, _ = tracker.store.connect()
    client.set_tag(run_id, "mlflow.newestFile", "2026-11-27T10:00:00.000000000Z")
    results(folder, 0.7)
    tracker.sync(folder)
    assert client.get_run(run_id).data.metrics["accuracy/digits"] == 0.7


def test_a_folder_that_was_moved_is_found_once_its_run_knows(
    folder: Path, tracker: MLflowTracking, run_id: str
) -> None:
    moved = folder.rename(folder.parents[1] / "moved")
    tracker.sync(moved)
    for key in ("run", "resume"):
        assert tracker.find(run_id, key) == moved
    assert known_ids(moved) == [run_id]


def test_another_run_in_the_same_folder_is_not_mistaken_for_it(
    folder: Path, tracker: MLflowTracking, run_id: str
) -> None:
    (folder / "mlflow_run_id").write_text("f" * 32 + "\n")
    assert tracker.find(run_id, "run") != folder


def test_a_folder_that_may_not_be_read_is_not_here(
    folder: Path, tracker: MLflowTracking, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as in somebody else's home. (chmod would not keep root out.)"""
    read_text = Path.read_text

    def refused(path: Path, *arguments: Any) -> str:
        if path.parent == folder:
            raise PermissionError(path)
        return read_text(path, *arguments)

    monkeypatch.setattr(Path, "read_text", refused)
    assert tracker.find(run_id, "run") == folder.parent / "downloads" / run_id


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
