"""Configuration -> objects, the part that training and evaluation share."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig

from mmreward.config import build
from mmreward.data.encoding import Encoder
from mmreward.data.prefix import Collate
from mmreward.data.skipping import encodable
from mmreward.data.sources.base import Source
from mmreward.data.transforms import Transform
from mmreward.errors import UserError
from mmreward.model.bundle import make_encoder
from mmreward.model.layout import decide_layout
from mmreward.model.reward import RewardModel
from mmreward.records import Record

# How many records are looked at before training: by `layout=auto` and by the loss.
SAMPLE = 8


def quiet() -> None:
    """Keeps what libraries say on every start off the screen; errors still show."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "transformers", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*across ranks is zero.*")  # no validation split
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")
    # Ours is: the data module deals the rest of the epoch.
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable.*")
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")


def fresh_model(cfg: DictConfig) -> RewardModel:
    """The model as it is before training: the same weights for the same seed, every time."""
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    model: RewardModel = build(cfg.model, "model")
    return model


def data_source(cfg: DictConfig) -> Source:
    """The run's source of records, with data.images and data.prompt_template applied."""
    source: Source = build(cfg.data.source, "data.source")
    return source.through(Transform(cfg.data.images, cfg.data.prompt_template))


def sample(source: Source) -> list[Record]:
    """The first records of the training split."""
    records = source.split("train")
    return [records[i] for i in range(min(SAMPLE, len(records)))]


def first_encodable(source: Source, encoder: Encoder) -> list[Record]:
    """The first records of the training split that can be encoded; UserError if none can."""
    found: list[Record] = []
    reason = ""
    for record in source.split("train"):
        good, bad = encodable([record], encoder)
        found += good
        reason = reason or "".join(f"{one.where}: {one.reason}" for one in bad)
        if len(found) == SAMPLE:
            break
    if not found:
        raise UserError(f"no record of the training split can be used; the first: {reason}")
    return found


def make_collate(cfg: DictConfig, model: RewardModel, source: Source) -> tuple[Collate, str]:
    """(collate, why it has this layout)."""
    encoder = make_encoder(model.backbone, cfg.data.max_length)
    records = sample(source)
    if cfg.data.on_bad_record == "skip":
        records = first_encodable(source, encoder)
    layout, reason = decide_layout(cfg.layout, model.backbone, encoder, records)
    return Collate(encoder, layout), reason


def optimizer_and_scheduler(cfg: DictConfig) -> tuple[Any, Any]:
    """The two unfinished factories, tried on one parameter: a wrong value shows before training."""
    optimizer, scheduler = build(cfg.optimizer, "optimizer"), build(cfg.scheduler, "scheduler")
    name = "optimizer"
    try:
        tried = optimizer([torch.nn.Parameter(torch.zeros(1))])
        name = "scheduler"
        scheduler(tried, total_steps=1)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} could not be built from {dict(cfg[name])}: {error}") from error
    return optimizer, scheduler
