"""Experiments: complete as written, and small enough for a laptop with a few overrides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from own_data import png, row, write_jsonl

from mmreward.config import CONF, build
from mmreward.tasks.train import train


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["experiment=mm_reward_2b", *overrides])


def test_mm_reward_2b_is_complete() -> None:
    cfg = config()
    assert not OmegaConf.missing_keys(cfg)
    backbone, trainer = cfg.model.backbone, cfg.trainer
    assert backbone.path == "Qwen/Qwen2-VL-2B-Instruct" and backbone.tuning == "lora"
    assert (backbone.lora_r, backbone.lora_alpha, backbone.lora_dropout) == (8, 16, 0.05)
    assert cfg.data.source._target_.endswith(".Mmpr") and cfg.data.source.validation == 0.05
    assert (cfg.data.batch_size, trainer.accumulate_grad_batches) == (1, 16)
    assert (cfg.optimizer._target_, cfg.optimizer.lr) == ("torch.optim.AdamW", 5e-6)
    assert (cfg.scheduler._target_.split(".")[-1], cfg.scheduler.warmup) == ("cosine", 0.03)
    assert (trainer.max_epochs, trainer.max_steps) == (3, -1)
    assert (trainer.accelerator, trainer.precision) == ("gpu", "16-mixed")
    assert cfg.data.max_length == 2048
    # In optimizer steps: log every 50, validate every 500, save every 1000, keep 3.
    assert trainer.log_every_n_steps == 50
    assert trainer.val_check_interval == 500 * trainer.accumulate_grad_batches
    assert trainer.check_val_every_n_epoch is None
    steps = cfg.checkpoint.steps
    assert (steps.every_n_train_steps, steps.save_top_k) == (1000, 3)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("model/backbone=tiny_gpt2", "model.backbone"),
        ("model/backbone=tiny_qwen2_vl", "model.backbone"),
        ("data/source=mix", "data.source"),
        ("data/source=digits", "data.source"),
    ],
)
def test_backbone_and_data_give_way_to_the_command_line(change: str, part: str) -> None:
    build(OmegaConf.select(config(change), part), part)


def test_an_image_of_the_largest_size_fits_its_length() -> None:
    cfg = config()
    assert cfg.model.backbone.max_pixels / 28**2 < cfg.data.max_length - 512


SMALL = (
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.enable_progress_bar=false",
    "trainer.max_epochs=1",
    "trainer.accumulate_grad_batches=2",
    "trainer.val_check_interval=8",
    "trainer.log_every_n_steps=2",
    "checkpoint.steps.every_n_train_steps=2",
    "data.num_workers=0",
    "tracking=none",
)


def test_the_counts_are_optimizer_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """End to end on own data: 40 records in batches of one, two batches a step."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    rows = []
    for number in range(40):
        (tmp_path / f"images/{number}.png").write_bytes(png(56, 56, shade=6 * number))
        rows.append(row(id=f"r{number}", image=f"images/{number}.png"))
    train_rows, held_out = write_jsonl(tmp_path / "train.jsonl", rows[:32]), rows[32:]
    test_rows = write_jsonl(tmp_path / "test.jsonl", held_out[4:])
    validation_rows = write_jsonl(tmp_path / "validation.jsonl", held_out[:4])
    train(
        config(
            *SMALL,
            "model/backbone=tiny_qwen2_vl",
            "model.backbone.hidden_size=32",
            "model.backbone.max_pixels=50176",
            "data/source=jsonl",
            f"data.source.path={train_rows}",
            f"data.source.validation_path={validation_rows}",
            f"data.source.test_path={test_rows}",
        )
    )
    names = {path.stem for path in (tmp_path / "checkpoints").glob("step=*.ckpt")}
    assert names == {"step=12", "step=14", "step=16"}, "every second step, the newest three"
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 16
    lines = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    logged = [line["step"] for line in lines if "train/loss" in line]
    validated = [line["step"] for line in lines if "val/accuracy" in line]
    assert validated == [4, 8, 12, 16], "every 8 batches"
    assert logged and all(step % 2 == 0 for step in logged)
    assert (tmp_path / "model" / "bundle.json").is_file()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert next(iter(metrics["benchmarks"].values()))["n"] == 4
