"""A training through the real configuration that takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from safetensors.torch import load_file

from mmreward.config import CONF
from mmreward.tasks.train import train
from mmreward.training.lightning_module import RewardModule

# Eight batches an epoch, a validation every four; a model of 60,000 parameters.
SMALL = (
    "model.backbone.hidden_size=32",
    "model.backbone.layers=2",
    "model.backbone.vision_depth=1",
    "data.source.train_records=64",
    "data.batch_size=8",
    "trainer.max_steps=12",
    "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "tracking=none",
)


def config(*overrides: str, small: tuple[str, ...] = SMALL) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*small, *overrides])


def run(folder: Path, *overrides: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    train(config(*overrides))
    return load_file(folder / "model" / "model.safetensors")


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def equal(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def killed_in(step: int, patch: pytest.MonkeyPatch) -> None:
    """Lets a training end in that step as if its process had been killed."""
    trained = RewardModule.training_step

    def dies(self: RewardModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step - 1:
            raise RuntimeError("killed")
        return trained(self, batch, batch_idx)

    patch.setattr(RewardModule, "training_step", dies)
