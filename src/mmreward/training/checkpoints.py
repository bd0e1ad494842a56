"""Checkpoints that a run can go on from: saved whole, and remembered as they lie in the folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

# {a callback's state_key: its state}
States = dict[str, dict[str, Any]]


class WholeFiles(TorchCheckpointIO):
    """Saves a checkpoint beside its place and moves it there when it is whole.

    Lightning's own takes a detour through the folder for temporary files. Where that is on another
    disk, a process that is killed while it copies leaves half of last.ckpt, and nothing to resume.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(".draft")  # of a process that was killed, too
        try:
            with draft.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


class LastStep(pl.Callback):
    """Saves the checkpoint to resume from where `max_steps` ends the training.

    It does so while the last batch is the current one: after it Lightning takes the epoch for
    finished, wherever it stood, and a run that goes on would skip the rest of its records.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.save_checkpoint(self.path)


class CheckpointsOnDisk(pl.Callback):
    """Lets a run go on wherever its folder lies by now, and in whichever moment it was killed.

    What Lightning's checkpoint callbacks remember is about files: absolute paths and their scores.
    The checkpoint that training goes on from may be wrong about them. The folder may have been
    moved; and a run that was killed between the save of a new best one and that of the last one
    has written and deleted files of which the last one does not know. So the memory is taken from
    the newest checkpoint in the folder, with the paths of today, without files that are gone.
    """

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        states: States = checkpoint["callbacks"]
        found: States = {}
        if trainer.is_global_zero:  # one rank looks: it deletes, too
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, ModelCheckpoint) and callback.state_key in states:
                    found[callback.state_key] = on_disk(callback, checkpoint)
        states |= trainer.strategy.broadcast(found)


def on_disk(callback: ModelCheckpoint, start: Mapping[str, Any]) -> dict[str, Any]:
    """The state to restore the callback with.

    start: the checkpoint that training goes on from
    """
    key, folder = callback.state_key, Path(str(callback.dirpath))
    # Anybody may have put a checkpoint here: this callback's own ones name its folder, which is
    # today's or the one before it was moved, and themselves.
    own = {str(folder), start["callbacks"][key]["dirpath"]}
    files = sorted(path for path in folder.rglob("*.ckpt") if path.is_file())
    known = moved(start["callbacks"][key], folder)
    newest, step = known, start["global_step"] + 1
    for path in files:
        other = _content(path)
        state = other.get("callbacks", {}).get(key)
        if state and state["dirpath"] in own and other.get("global_step", -1) >= step:
            state = moved(state, folder)
            if str(path) in state["best_k_models"]:
                newest, step = state, other["global_step"]
    for path in files:
        if str(path) in known["best_k_models"].keys() - newest["best_k_models"].keys():
            path.unlink()  # the run was killed when it was about to do this
    kept = {path: score for path, score in newest["best_k_models"].items() if Path(path).is_file()}
    if newest["monitor"] is None or kept == newest["best_k_models"]:
        return newest
    if not kept:
        rank_zero_warn(
            f"no checkpoint that was kept for its {newest['monitor']} is left in {folder}: the "
            "best is sought anew from here on"
        )
        gone = {"best_model_path": "", "best_model_score": None, "kth_best_model_path": ""}
        return newest | gone | {"best_k_models": {}}
    first, last = (min, max) if callback.mode == "min" else (max, min)
    best, kth = first(kept, key=kept.__getitem__), last(kept, key=kept.__getitem__)
    return newest | {
        "best_k_models": kept,
        "best_model_path": best,
        "best_model_score": kept[best],
        "kth_best_model_path": kth,
        "kth_value": kept[kth],
    }


def moved(state: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A callback's state with the paths that its files have in `folder`."""

    def here(path: str) -> str:
        return str(folder / os.path.relpath(path, state["dirpath"])) if path else ""

    names = ("best_model_path", "kth_best_model_path", "last_model_path")
    return {
        **state,
        **{name: here(state[name]) for name in names},
        "best_k_models": {here(path): score for path, score in state["best_k_models"].items()},
        "dirpath": str(folder),
    }


def _content(path: Path) -> dict[str, Any]:
    """The checkpoint, its tensors left on disk; nothing where there is none or half of one."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError):
        return {}
    return content if isinstance(content, dict) else {}
