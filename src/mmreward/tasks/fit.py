"""The training itself: Lightning's trainer, and the weights that are kept at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from mmreward.config import build
from mmreward.data.datamodule import PreferenceData
from mmreward.data.prefix import Collate
from mmreward.data.skipping import SkippingCollate
from mmreward.data.sources.base import Source
from mmreward.errors import UserError
from mmreward.losses.base import Loss
from mmreward.model.backbone import count_parameters
from mmreward.model.reward import RewardModel
from mmreward.tasks.assemble import optimizer_and_scheduler
from mmreward.tasks.run_folder import LAST
from mmreward.training.checkpoints import CheckpointsOnDisk, LastStep, WholeFiles
from mmreward.training.curves import Curves
from mmreward.training.interruption import OwnSignal
from mmreward.training.lightning_module import RewardModule
from mmreward.training.throughput import Throughput


@dataclass(frozen=True)
class Fitted:
    """What is left of a training besides the model, which holds the best weights.

    device:    where it was trained
    validated: the metric of the best weights, by which they were chosen; None without validation
    cost:      the `training` part of metrics.json
    rank_zero: whether this process is the one that writes
    """

    device: torch.device
    validated: float | None
    cost: dict[str, Any]
    rank_zero: bool


def fit(
    cfg: DictConfig, folder: Path, model: RewardModel, loss: Loss, source: Source, collate: Collate
) -> Fitted:
    """Trains the model in place, from the folder's last checkpoint if `cfg.resume` is set.

    Raises UserError for settings that Lightning refuses.
    """
    trainer, throughput = make_trainer(cfg, folder)
    config: Any = OmegaConf.to_container(cfg, resolve=True)  # plain: what checkpoints may hold
    module = RewardModule(model, loss, *optimizer_and_scheduler(cfg), config)
    data = PreferenceData(
        source,
        SkippingCollate(collate, folder) if cfg.data.on_bad_record == "skip" else collate,
        cfg.data.batch_size,
        cfg.data.eval_batch_size,
        cfg.data.num_workers,
        cfg.seed,
    )
    start = str(folder / LAST) if cfg.resume else None
    try:
        trainer.fit(module, data, ckpt_path=start, weights_only=True)
    except MisconfigurationException as error:
        raise UserError(f"training cannot start: {error}") from error
    validated = keep_best(module, data, trainer, folder / "checkpoints")
    trainable, total = count_parameters(model)
    cost = {
        "parameters": total,
        "trained_parameters": trainable,
        **throughput.summary(trainer.global_step),
    }
    return Fitted(trainer.strategy.root_device, validated, cost, trainer.is_global_zero)


def make_trainer(cfg: DictConfig, folder: Path) -> tuple[pl.Trainer, Throughput]:
    """The Lightning trainer with its callbacks."""
    if (cfg.trainer.max_steps == -1) == (cfg.trainer.max_epochs == -1):
        raise UserError(
            "give one of trainer.max_steps and trainer.max_epochs and leave the other at -1: "
            "with both, Lightning ends a resumed run early"
        )
    throughput = Throughput()
    callbacks: list[pl.Callback] = [
        throughput,
        OwnSignal(),
        Curves(folder),
        CheckpointsOnDisk(),
        LastStep(folder / LAST),
        *(
            build(node, f"checkpoint.{name}", dirpath=folder / "checkpoints")
            for name, node in cfg.checkpoint.items()
        ),
    ]
    if cfg.trainer.enable_progress_bar:
        callbacks.append(TQDMProgressBar(refresh_rate=10))
    stopping: EarlyStopping | None = build(cfg.early_stopping or None, "early_stopping")
    if stopping:
        callbacks.append(stopping)
    plugins = [build(node, "trainer.plugins") for node in cfg.trainer.get("plugins") or ()]
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(WholeFiles())
    trainer: pl.Trainer = build(
        cfg.trainer,
        "trainer",
        callbacks=callbacks,
        plugins=plugins,
        logger=False,  # trackers read the curves from the run folder
        default_root_dir=folder,
    )
    return trainer, throughput


def keep_best(
    module: RewardModule, data: PreferenceData, trainer: pl.Trainer, folder: Path
) -> float | None:
    """Leaves the module with the best weights by the metric a checkpoint callback follows; returns
    what these were validated with, None without a validation split or such a callback.

    The steps after the last validation count as well: the end of training is validated, and kept if
    it is better than what was saved. It is saved as the checkpoint to resume from where it is the
    end of an epoch; what ends a training earlier has saved its own (see `LastStep`).
    """
    if trainer.max_steps == -1 and trainer.is_last_batch:
        trainer.save_checkpoint(folder / "last.ckpt")
    following = [c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None)]
    if not following or not isinstance(best := following[0], ModelCheckpoint):
        return None
    before = None if best.best_model_score is None else float(best.best_model_score)
    if module.validated_at != trainer.global_step or before is None:
        measured = trainer.validate(module, data, verbose=False)
        score = measured[0].get(str(best.monitor)) if measured else None
        sign = 1 if best.mode == "max" else -1
        if before is None or score is None or sign * score >= sign * before:
            return score
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"], strict=False)
    return before
