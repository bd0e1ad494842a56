"""Runs that are taken up again after their folder was moved, or with files that came and went; how
checkpoints are saved."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import small_training
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from small_training import checkpoint, equal, killed_in

from mmreward.data.sources import digits
from mmreward.training.lightning_module import RewardModule

# What validations find in turn, whatever the model does. The best is in the middle.
ACCURACIES = {4: 0.5, 8: 0.75, 12: 0.25}


@pytest.fixture(autouse=True)
def _few_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(digits.TWINS, "validation", 4)
    monkeypatch.setitem(digits.TWINS, "test", 12)


@pytest.fixture
def accuracies(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """{step: validation accuracy}, which a test may change."""
    found = dict(ACCURACIES)

    def validation_step(self: RewardModule, batch: Any, batch_idx: int) -> None:
        self.log("val/accuracy", found[self.trainer.global_step], batch_size=1)

    monkeypatch.setattr(RewardModule, "validation_step", validation_step)
    return found


def run(folder: Path, *overrides: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return small_training.run(
        folder, "evaluation.conditions=[intact]", *overrides, monkeypatch=monkeypatch
    )


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def remembered(folder: Path) -> dict[str, Any]:
    """What the callback that keeps the best left in last.ckpt."""
    states = checkpoint(folder)["callbacks"].values()
    (state,) = [each for each in states if each.get("monitor") == "val/accuracy"]
    return state


def killed(*_: Any, **__: Any) -> Any:
    raise RuntimeError("killed")


def interrupted(folder: Path, patch: pytest.MonkeyPatch, *overrides: str) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        run(folder, *overrides, monkeypatch=patch)


def killed_between(step: int, patch: pytest.MonkeyPatch) -> None:
    """Lets a training end at that step before the last checkpoint is saved."""
    save = ModelCheckpoint._save_checkpoint

    def dies(self: ModelCheckpoint, trainer: Any, filepath: str) -> None:
        if filepath.endswith("last.ckpt") and trainer.global_step == step:
            raise RuntimeError("killed")
        save(self, trainer, filepath)

    patch.setattr(ModelCheckpoint, "_save_checkpoint", dies)


# -- another place -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("ended_in", ["step 11", "validation at the end", "evaluation"])
def test_a_run_that_was_moved_keeps_its_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracies: dict[int, float], ended_in: str
) -> None:
    """In the middle of training; all steps done, but not validated; all steps done."""
    steps = "trainer.max_steps=11" if ended_in == "validation at the end" else "seed=0"
    accuracies[11] = accuracies[12]
    whole = run(tmp_path / "whole", steps, monkeypatch=monkeypatch)
    with monkeypatch.context() as patch:
        if ended_in == "step 11":
            killed_in(11, patch)
        else:
            where = {"validation at the end": "fit.pl.Trainer.validate"}
            patch.setattr(f"mmreward.tasks.{where.get(ended_in, 'train.save_bundle')}", killed)
        interrupted(tmp_path / "here", patch, steps)
    there = tmp_path / "elsewhere" / "there"
    there.parent.mkdir()
    (tmp_path / "here").rename(there)
    resumed = run(there, f"resume={there}", monkeypatch=monkeypatch)
    assert equal(resumed, whole)
    assert kept(there) == kept(tmp_path / "whole") == ["best-step=8.ckpt", "last.ckpt"]
    state = remembered(there)
    if ended_in == "step 11":  # else nothing was left to train, and nothing saved again
        assert state["best_model_path"] == str(there.resolve() / "checkpoints" / "best-step=8.ckpt")
    assert float(state["best_model_score"]) == 0.75
    assert not (tmp_path / "here").exists()
    again = there.rename(tmp_path / "again")
    assert equal(run(again, f"resume={again}", monkeypatch=monkeypatch), whole)
    assert kept(again) == ["best-step=8.ckpt", "last.ckpt"]


# -- another moment ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("old_one_left", [False, True])
@pytest.mark.parametrize("again", [0.75, 0.4, 0.8])
def test_a_best_that_the_last_does_not_know_of_is_the_best(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accuracies: dict[int, float],
    again: float,
    old_one_left: bool,
) -> None:
    """Killed between the two saves. A GPU may find another accuracy when it does the steps again:
    the same, one below that of the deleted checkpoint, a better one."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        if old_one_left:
            patch.setattr(ModelCheckpoint, "_remove_checkpoint", lambda *_: None)
        killed_between(8, patch)
        interrupted(folder, patch)
    assert checkpoint(folder)["global_step"] == 4
    first = checkpoint(folder, "best-step=8")["state_dict"]
    accuracies[8] = again
    weights = run(folder, f"resume={folder}", monkeypatch=monkeypatch)
    assert kept(folder) == ["best-step=8.ckpt", "last.ckpt"]
    state = remembered(folder)
    assert float(state["best_model_score"]) == pytest.approx(max(0.75, again))
    assert all(torch.equal(weights[n.removeprefix("model.")], t) for n, t in first.items())


@pytest.mark.slow
def test_a_best_that_is_gone_is_sought_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracies: dict[int, float]
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        killed_in(11, patch)
        interrupted(folder, patch)
    (folder / "checkpoints" / "best-step=8.ckpt").unlink()
    with pytest.warns(UserWarning, match="sought anew"):
        run(folder, f"resume={folder}", monkeypatch=monkeypatch)
    assert kept(folder) == ["best-step=12.ckpt", "last.ckpt"]
    # With nothing left to train and nothing kept, the last weights are what there is.
    (folder / "checkpoints" / "best-step=12.ckpt").unlink()
    with pytest.warns(UserWarning, match="sought anew"):
        weights = run(folder, f"resume={folder}", monkeypatch=monkeypatch)
    last = checkpoint(folder)["state_dict"]
    assert all(torch.equal(weights[n.removeprefix("model.")], t) for n, t in last.items())


def test_of_several_best_those_that_are_there_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracies: dict[int, float]
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        killed_in(11, patch)
        interrupted(folder, patch, "checkpoint.best.save_top_k=2")
    assert kept(folder) == ["best-step=4.ckpt", "best-step=8.ckpt", "last.ckpt"]
    (folder / "checkpoints" / "best-step=8.ckpt").unlink()
    run(folder, f"resume={folder}", monkeypatch=monkeypatch)
    assert kept(folder) == ["best-step=12.ckpt", "best-step=4.ckpt", "last.ckpt"]
    state = remembered(folder)
    assert Path(state["best_model_path"]).name == "best-step=4.ckpt"
    assert Path(state["kth_best_model_path"]).name == "best-step=12.ckpt"


@pytest.mark.slow
def test_what_else_lies_there_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracies: dict[int, float]
) -> None:
    """A copy of a checkpoint, those of another run, half of one, weights alone, a lost link."""
    run(tmp_path / "other", "trainer.max_steps=12", monkeypatch=monkeypatch)
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        killed_in(7, patch)
        interrupted(folder, patch)
    ours, theirs = folder / "checkpoints", tmp_path / "other" / "checkpoints"
    os.link(ours / "best-step=4.ckpt", ours / "mine.ckpt")
    os.link(theirs / "last.ckpt", ours / "theirs.ckpt")
    os.link(theirs / "best-step=8.ckpt", ours / "best-step=7.ckpt")
    (ours / "lost.ckpt").symlink_to("nowhere")
    (ours / "half.ckpt").write_bytes((theirs / "last.ckpt").read_bytes()[:1000])
    torch.save({"global_step": 99}, ours / "weights.ckpt")
    run(folder, f"resume={folder}", monkeypatch=monkeypatch)
    assert kept(folder) == [
        "best-step=7.ckpt", "best-step=8.ckpt", "half.ckpt", "last.ckpt", "lost.ckpt", "mine.ckpt",
        "theirs.ckpt", "weights.ckpt",
    ]  # fmt: skip


def test_another_runs_best_does_not_replace_this_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracies: dict[int, float]
) -> None:
    """Even under the name that this run will give its own."""
    whole = run(tmp_path / "whole", "trainer.max_steps=12", monkeypatch=monkeypatch)
    accuracies[8] = 0.9
    run(tmp_path / "other", "trainer.max_steps=12", "seed=1", monkeypatch=monkeypatch)
    accuracies[8] = ACCURACIES[8]
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        killed_in(7, patch)
        interrupted(folder, patch)
    theirs = tmp_path / "other" / "checkpoints" / "best-step=8.ckpt"
    (folder / "checkpoints" / "best-step=8.ckpt").write_bytes(theirs.read_bytes())
    assert equal(run(folder, f"resume={folder}", monkeypatch=monkeypatch), whole)


@pytest.mark.slow
def test_newest_of_every_so_many_steps_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracies: dict[int, float]
) -> None:
    """They are saved between validations, so last.ckpt is older than some of them."""
    every = ("checkpoint=steps", "checkpoint.steps.every_n_train_steps=1")
    run(tmp_path / "whole", *every, monkeypatch=monkeypatch)
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        killed_in(11, patch)
        interrupted(folder, patch, *every)
    assert {"step=8.ckpt", "step=9.ckpt", "step=10.ckpt"} < set(kept(folder))
    run(folder, f"resume={folder}", monkeypatch=monkeypatch)
    assert kept(folder) == kept(tmp_path / "whole")


# -- saving --------------------------------------------------------------------------------


def test_a_checkpoint_that_was_being_saved_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by way of a folder for temporary files, which may be full or on another disk."""

    def none(*_: Any, **__: Any) -> Any:
        raise OSError("no such folder")

    monkeypatch.setattr(tempfile, "mkstemp", none)
    folder = tmp_path / "run"
    save = torch.save

    def half(content: Any, file: Any) -> None:
        if content["global_step"] == 8 and file.name.endswith(".draft"):
            file.write(b"half of it")
            raise RuntimeError("killed")
        save(content, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        interrupted(folder, patch)
    assert kept(folder) == ["best-step=4.ckpt", "last.ckpt"]
    assert checkpoint(folder)["global_step"] == 4
    (folder / "checkpoints" / ".draft").write_bytes(b"of a process that was killed")
    run(folder, f"resume={folder}", monkeypatch=monkeypatch)
    assert checkpoint(folder)["global_step"] == 12
    assert ".draft" not in kept(folder)
