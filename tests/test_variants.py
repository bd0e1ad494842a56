"""Every combination that conf/ offers composes, builds and trains a step.

New files under conf/model, conf/model/head, conf/model/pooling and conf/loss are found here.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch
from helpers import image_records, text_records, tiny_backbone
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import nn

from mmreward.config import CONF, build
from mmreward.data.prefix import Collate, PrefixBatch
from mmreward.errors import UserError
from mmreward.model.backbone import Backbone
from mmreward.model.bundle import make_encoder
from mmreward.model.reward import RewardModel
from mmreward.tasks.train import train


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


MODELS, HEADS = options("model"), options("model/head")
POOLINGS, LOSSES = options("model/pooling"), options("loss")


@cache
def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides])


@cache
def backbone() -> Backbone:
    return tiny_backbone("qwen2_vl")


@cache
def mixed_batch() -> PrefixBatch:
    """Images and text, K = 2, 3, 4, a tie: something for every loss."""
    return Collate(make_encoder(backbone(), None))(text_records() + image_records())


def train_step(model: RewardModel, loss: nn.Module, batch: PrefixBatch) -> dict[str, torch.Tensor]:
    """The gradients of a step that moved the weights and left everything finite."""
    trained = nn.ModuleDict({"model": model, "loss": loss}).train()
    parameters = {n: p for n, p in trained.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3)
    optimizer.zero_grad()
    output = loss(model(batch), batch)
    output.total.backward()
    assert torch.isfinite(output.total)
    gradients = {n: p.grad for n, p in parameters.items()}
    assert all(g is not None and torch.isfinite(g).all() for g in gradients.values())
    optimizer.step()
    assert all(torch.isfinite(p).all() for p in parameters.values())
    with torch.no_grad():
        assert torch.isfinite(loss(model(batch), batch).total)
    return gradients


def last_bias(model: RewardModel) -> str:
    """The bias every score shares: differences of scores do not see it, all else learns."""
    linear = [n for n, m in model.head.named_modules() if isinstance(m, nn.Linear)]
    return f"model.head.{linear[-1]}.bias"


@pytest.mark.parametrize(("pooling", "head", "loss"), [*product(POOLINGS, HEADS, LOSSES)])
def test_every_pooling_head_and_loss_trains_a_step(pooling: str, head: str, loss: str) -> None:
    model = RewardModel(
        backbone(),
        build(composed(f"model/pooling={pooling}").model.pooling, "model.pooling"),
        build(composed(f"model/head={head}").model.head, "model.head"),
    )
    gradients = train_step(model, build(composed(f"loss={loss}").loss, "loss"), mixed_batch())
    still = {n for n, g in gradients.items() if not g.any() and "backbone" not in n}
    assert still <= {last_bias(model)}
    for part in ("language_model.layers.0", "visual.blocks.0"):
        assert any(g.any() for n, g in gradients.items() if part in n), part


@pytest.mark.parametrize("model_name", MODELS)
def test_every_model_as_configured_trains_a_step(model_name: str) -> None:
    cfg = composed(f"model={model_name}")
    model = build(cfg.model, "model")
    sees = model.backbone.processor is not None
    batch = Collate(make_encoder(model.backbone, None))(image_records() if sees else text_records())
    gradients = train_step(model, build(cfg.loss, "loss"), batch)
    assert sum(bool(g.any()) for g in gradients.values()) > len(gradients) / 2


@pytest.mark.parametrize("model_name", MODELS)
def test_the_command_line_chooses_the_loss_of_every_model(model_name: str) -> None:
    """plackett_luce is no model's own."""
    cfg = composed(f"model={model_name}", "loss=plackett_luce")
    assert cfg.loss == composed("loss=plackett_luce").loss != composed(f"model={model_name}").loss
    assert cfg.model == composed(f"model={model_name}").model


EXPECTED: dict[str, tuple[str, str, str, str]] = {
    "base": ("tiny_qwen2_vl", "LastToken", "Linear", "BradleyTerry"),
    "enhanced": ("tiny_qwen2_vl", "LastToken", "Enhanced", "BradleyTerry"),
    "pooling": ("tiny_qwen2_vl", "Mean", "Linear", "BradleyTerry"),
    "contrastive": ("tiny_qwen2_vl", "LastToken", "Linear", "Contrastive"),
    "fusion": ("tiny_qwen2_vl", "Fusion", "Enhanced", "BradleyTerry"),
    "adaptive": ("tiny_qwen2_vl", "LastToken", "Adaptive", "Adaptive"),
    "qwen2vl_mlp": ("tiny_qwen2_vl", "LastToken", "BoundedMLP", "Margin"),
    "text": ("tiny_gpt2", "Mean", "Linear", "BradleyTerry"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_the_names_of_models_stand_for(name: str) -> None:
    cfg = composed(f"model={name}")
    nodes = (cfg.model.backbone, cfg.model.pooling, cfg.model.head, cfg.loss)
    assert tuple(node._target_.split(".")[-1] for node in nodes) == EXPECTED[name]


def test_parts_of_a_model_can_be_exchanged() -> None:
    cfg = composed("model=pooling", "model/pooling=attention", "model/head=mlp", "loss=ties")
    assert cfg.model.pooling._target_.endswith(".Attention")
    assert cfg.model.head._target_.endswith(".BoundedMLP")
    assert cfg.loss._target_.endswith(".Ties")


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("model=contrastive", "data.batch_size=1"), "data.batch_size=1; use 2 or more"),
        (("loss=margin", "loss.form=bradley_terry"), "no scores; use loss.form=hinge"),
    ],
)
def test_a_loss_that_cannot_work_is_refused_before_training(
    overrides: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=reason):
        train(composed(*overrides, "data.source.train_records=64", "tracking=none"))
