"""What a run says of itself: its name, parameters, tags and command."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from run_folders import run_folder

from mmreward.config import CONF
from mmreward.tasks import describe
from mmreward.tasks.describe import (
    command,
    common_overrides,
    run_info,
    run_name,
    run_params,
    run_tags,
)
from mmreward.tracking.base import SWEEP, SWEEP_COMMON, RunInfo, sweep_name


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
        ("base", "bradley_terry", ["checkpoint=steps", "checkpoint.best.monitor=val/loss"],
         "base s0 monitor=loss"),
        ("nowhere", "bradley_terry", [], "nowhere+bradley_terry s0"),
    ],
)  # fmt: skip
def test_the_name_says_what_varied(model, loss, overrides, name) -> None:
    assert run_name(chosen(model, loss), overrides) == name


@pytest.mark.parametrize(
    ("defaults", "own"),
    [
        (["base", "_self_"], "bradley_terry"),
        (["/model/contrastive@_here_", {"override head": "mlp"}], "contrastive"),
        (["inherits", "_self_"], "margin"),
        (["base", {"override /loss@_global_.loss": "margin"}], "margin"),
    ],
)
def test_a_model_that_inherits_has_the_loss_that_it_inherits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defaults: list[object], own: str
) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    OmegaConf.save({"defaults": ["qwen2vl_mlp"]}, conf / "model" / "inherits.yaml")
    OmegaConf.save({"defaults": defaults}, conf / "model" / "mine.yaml")
    monkeypatch.setattr(describe, "CONF", conf)
    with initialize_config_dir(str(conf), version_base="1.3"):
        hydra = compose("config", ["model=mine"], return_hydra_config=True).hydra
    assert hydra.runtime.choices["loss"] == own, "as Hydra composes it"
    assert run_name(chosen("mine", own), []) == "mine s0"
    assert run_name(chosen("mine", "ties"), []) == "mine+ties s0"


@pytest.mark.parametrize(
    ("overrides", "common", "name"),
    [
        (["trainer.devices=2", "data.num_workers=4"], [], "base s0 devices=2 num_workers=4"),
        (["trainer=ddp", "x=1"], ["x=1"], "base s0 trainer=ddp"),
        (["evaluation.batch_size=2"], [], "base s0 batch_size=2"),
        (["model.head.dropout=0.1", "model.pooling.dropout=0.2"], None,
         "base s0 head.dropout=0.1 pooling.dropout=0.2"),
        (["model=base", "seed=0", *(f"data.o{n}=1" for n in range(6))], [],
         "base s0 o0=1 o1=1 o2=1 o3=1 o4=1 o5=1"),
        (["tracking.uri=mysql://me:pw@host", "hydra.x=1"], [], "base s0"),
    ],
)  # fmt: skip
def test_what_a_sweep_varies_shows(overrides, common, name) -> None:
    assert run_name(chosen("base", "bradley_terry"), overrides, common) == name


def test_jobs_of_hydras_own_launchers_know_their_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (SWEEP, SWEEP_COMMON):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    assert common_overrides() is None
    sweep = tmp_path / "run1"
    job = {"mode": "MULTIRUN", "sweep": {"dir": str(sweep)}, "job": {"num": 1}}
    cfg = OmegaConf.merge({"hydra": OmegaConf.structured(HydraConf)}, {"hydra": job})
    HydraConfig.instance().set_config(cfg)
    collate = SimpleNamespace(layout="shared")
    assert run_tags(config(), tmp_path, collate)["sweep"] == sweep_name(sweep)
    assert common_overrides() == []
    sweep.mkdir()
    line = {"hydra": {"overrides": {"task": ["model=base,enhanced", "++data.x=false"]}}}
    OmegaConf.save(line, sweep / "multirun.yaml")
    overrides = ["model=base", "++data.x=False", "trainer.devices=2"]  # as Hydra writes them
    common = common_overrides()
    assert run_name(chosen("base", "bradley_terry"), overrides, common) == "base s0 devices=2"


def test_sweeps_of_one_name_are_told_apart(tmp_path: Path) -> None:
    names = {sweep_name(tmp_path / person / "run1") for person in ("mine", "yours")}
    assert len(names) == 2 and all(re.fullmatch(r"run1-[0-9a-f]{6}", name) for name in names)
    dated = "2026-01-02_03-04-05-678901"
    assert sweep_name(tmp_path / dated) == dated


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


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_the_command_can_be_pasted_and_tells_no_address(prefix: str) -> None:
    address = f"{prefix}tracking.uri=postgresql://me:pw@host"
    overrides = ["model=base", "evaluation.conditions=[intact]", address]
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
    # A sweep's job that goes on has its own line and no `resume` in it.
    own = ["model=base", "seed=0", "tracking.uri=http://host"]
    info = run_info(cfg, folder, own, None, SimpleNamespace(layout="shared"))
    assert "resumed_with" not in info.tags
    overrides = [f"resume={folder}", "trainer.max_steps=90", "++tracking.uri=sqlite:///x"]
    info = run_info(cfg, folder, overrides, None, SimpleNamespace(layout="separate"))
    for name in ("name", "params", "command", "dataset", "started"):
        assert getattr(info, name) == getattr(begun, name), name
    assert info.status == "RUNNING" and info.ended is None
    assert info.tags["resumed_with"] == "trainer.max_steps=90"
    assert info.tags["layout"] == "separate" and info.tags["sweep"] == "s1"


def test_a_run_trained_on_several_states_of_the_code_names_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config()
    cfg.resume = str(folder := run_folder(tmp_path / "run", tags={"commit": "old"}))
    found = []
    for commit in ("old", "new-dirty", "new-dirty", "third", "old"):
        monkeypatch.setattr(describe, "_commit", lambda commit=commit: commit)
        info = run_info(cfg, folder, [], None, SimpleNamespace(layout="shared"))
        info.write(folder)
        found.append((info.tags["commit"], info.tags.get("resumed_commit")))
    later = (
        None,
        "new-dirty",
        "new-dirty",
        "new-dirty then third",
        "new-dirty then third then old",
    )
    assert found == [("old", states) for states in later]
