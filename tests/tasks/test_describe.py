"""What a run says of itself: its name, parameters, tags and command."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from run_folders import run_folder

from mmreward.tasks import describe
from mmreward.tasks.describe import command, run_info, run_name, run_params, run_tags
from mmreward.tracking.base import SWEEP, SWEEP_COMMON, RunInfo


def chosen(model: str, loss: str, seed: int = 0):
    return OmegaConf.create({"choices": {"model": model, "loss": loss}, "seed": seed})


@pytest.mark.parametrize(
    ("model", "loss", "overrides", "name"),
    [
        ("base", "bradley_terry", [], "base s0"),
        ("contrastive", "contrastive", ["model=contrastive"], "contrastive s0"),
        ("enhanced", "contrastive", ["model=enhanced", "loss=contrastive", "optimizer.lr=1e-3"],
         "enhanced+contrastive s0 lr=1e-3"),
        ("base", "bradley_terry", ["model/head=mlp", "data/source=shapes"],
         "base s0 head=mlp source=shapes"),
        ("base", "bradley_terry", ["model/backbone@model.backbone=gpt2", "+data.x=/a/b/c.jsonl"],
         "base s0 backbone=gpt2 x=c.jsonl"),
        ("base", "bradley_terry", ["seed=0", "task=train", "tracking=none", "tracking.uri=x",
         "trainer.enable_progress_bar=false", "evaluation.batch_size=2", "hydra.run.dir=a/b"],
         "base s0"),
        ("base", "bradley_terry", ["trainer.max_steps=60"], "base s0 max_steps=60"),
        ("mine", "bradley_terry", [], "mine+bradley_terry s0"),
    ],
)  # fmt: skip
def test_the_name_says_what_varied(model, loss, overrides, name) -> None:
    assert run_name(chosen(model, loss), overrides) == name


def test_a_name_stays_short() -> None:
    overrides = [f"model.backbone.option_{n}={'x' * 100}" for n in range(10)]
    assert len(run_name(chosen("base", "bradley_terry"), overrides)) < 200


def config():
    return OmegaConf.create(
        {
            "choices": {
                "data/source": "digits", "model": "base", "model/pooling": "mean",
                "model/head": "linear", "model/backbone": "tiny_gpt2", "loss": "margin",
            },
            "optimizer": {"lr": 3e-4},
            "data": {"batch_size": 8},
            "seed": 2,
            "resume": None,
        }
    )  # fmt: skip


def test_parameters_are_few_and_in_the_order_a_page_reads_best() -> None:
    assert list(run_params(config()).items()) == [
        ("model", "base"), ("loss", "margin"), ("backbone", "tiny_gpt2"), ("head", "linear"),
        ("pooling", "mean"), ("lr", 3e-4), ("batch", 8), ("seed", 2), ("data", "digits"),
    ]  # fmt: skip


def test_a_sweeps_runs_carry_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    collate = SimpleNamespace(layout="shared")
    monkeypatch.delenv(SWEEP, raising=False)
    assert "sweep" not in run_tags(config(), tmp_path, collate)
    monkeypatch.setenv(SWEEP, "variants")
    tags = run_tags(config(), tmp_path, collate)
    assert tags["sweep"] == "variants" and tags["layout"] == "shared"
    assert tags["folder"] == str(tmp_path) and tags["commit"]


def test_what_all_jobs_of_a_sweep_have_is_left_out_of_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe, "dataset", lambda cfg, source: {})
    overrides = ["model=base", "trainer.max_steps=60", "optimizer.lr=1e-3"]
    collate = SimpleNamespace(layout="shared")
    names = []
    for common in (None, '["model=base", "trainer.max_steps=60"]'):
        if common:
            monkeypatch.setenv(SWEEP_COMMON, common)
        info = run_info(config(), tmp_path, overrides, None, collate)
        names.append(info.name)
        assert info.command.endswith("model=base trainer.max_steps=60 optimizer.lr=1e-3")
    assert names == ["base+margin s2 max_steps=60 lr=1e-3", "base+margin s2 lr=1e-3"]


def test_the_command_can_be_pasted_and_tells_no_address() -> None:
    overrides = ["model=base", "evaluation.conditions=[intact]", "tracking.uri=http://me:pw@host"]
    assert command(overrides) == "python run.py model=base 'evaluation.conditions=[intact]'"


def test_a_resumed_run_keeps_what_it_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(tmp_path / "run")
    begun = RunInfo.read(folder)
    begun.end(folder, "FAILED")
    cfg = config()
    cfg.resume = str(folder)
    monkeypatch.setattr(describe, "data_digest", lambda source: pytest.fail("read again"))
    overrides = [f"resume={folder}", "trainer.max_steps=90", "tracking=none"]
    info = run_info(cfg, folder, overrides, None, SimpleNamespace(layout="separate"))
    for name in ("name", "params", "command", "dataset", "started"):
        assert getattr(info, name) == getattr(begun, name), name
    assert info.status == "RUNNING" and info.ended is None
    assert info.tags["resumed_with"] == "trainer.max_steps=90"
    assert info.tags["layout"] == "separate" and info.tags["sweep"] == "s1"
