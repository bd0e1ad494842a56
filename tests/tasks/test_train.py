"""Training through the real configuration: what it writes, that it resumes, that it is seeded."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict
from safetensors.torch import load_file
from small_training import checkpoint, config, equal, killed_in, run

import mmreward.config
from mmreward.analysis.runs import read_runs
from mmreward.config import CONF, allowed_targets
from mmreward.curve_file import CURVES, read_rows
from mmreward.data.datamodule import ResumableSampler
from mmreward.data.sources import digits
from mmreward.errors import UserError
from mmreward.model.bundle import load_bundle
from mmreward.scoring.table import read_table
from mmreward.tasks.assemble import data_source, fresh_model, make_collate
from mmreward.tasks.evaluate import evaluate
from mmreward.tasks.fit import make_trainer
from mmreward.tasks.run_folder import resume_run
from mmreward.tasks.train import train
from mmreward.tracking import SWEEP
from mmreward.training.checkpoints import WholeFiles
from mmreward.training.lightning_module import RewardModule


@pytest.fixture(autouse=True)
def _few_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 records to validate on and 24 to test on, per kind of question 4 and 12."""
    monkeypatch.setitem(digits.TWINS, "validation", 4)
    monkeypatch.setitem(digits.TWINS, "test", 12)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh working folder; without Hydra's command line the run lives right here."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_leaves_everything_behind(folder: Path) -> None:
    cfg = config()
    train(cfg)
    for name in (
        "config.yaml",
        "checkpoints/last.ckpt",
        "model/bundle.json",
        "records.jsonl",
        "scores.jsonl",
        "report.md",
        "curves.jsonl",
    ):
        assert (folder / name).is_file(), name
    metrics = json.loads((folder / "metrics.json").read_text())
    found = metrics["benchmarks"]["digits"]
    for key in (
        "n",
        "n_records",
        "accuracy",
        "accuracy_ci95",
        "mean_margin",
        "mean_margin_ci95",
        "categories",
    ):
        assert key in found, key
    for control in ("blind_image", "swapped_image", "untrained", "longer", "random"):
        assert 0.0 <= found["controls"][control]["accuracy"] <= 1.0
    for control in ("blind_image", "text_only"):
        assert found["controls"][control]["accuracy"] == 0.5, "nothing but the image tells"
    assert 0 < found["controls"]["normalised"]["n_changed"] < found["n"]
    assert found["calibration"]["temperature_from"] == "digits/validation"
    assert list(metrics["benchmarks"]) == ["digits"]
    splits = Counter(row["split"] for row in read_table(folder).records)
    assert splits == {"test": 72, "validation": 24}
    assert set(metrics["training"]) == {
        "seconds",
        "pairs_per_second",
        "peak_memory_mb",
        "steps",
        "records_cut",
        "parameters",
        "trained_parameters",
    }
    assert metrics["training"]["trained_parameters"] == metrics["training"]["parameters"] > 50_000
    assert metrics["training"]["steps"] == 12
    assert OmegaConf.load(folder / "config.yaml").model == cfg.model


def test_the_bundle_rebuilds_the_model_that_was_scored(folder: Path) -> None:
    cfg = config()
    train(cfg)
    model, collate = load_bundle(folder / "model")
    records = [data_source(cfg).split("test")[i] for i in range(16)]
    with torch.no_grad():
        scores = model(collate(records)).scores.tolist()
    filed = read_table(folder).scores["intact"]
    expected = [filed[r.id, k] for r in records for k in range(len(r.responses))]
    assert scores == pytest.approx(expected, abs=1e-5)


def test_untrained_is_the_model_training_began_with(folder: Path) -> None:
    cfg = config()
    model = fresh_model(cfg).eval()
    source = data_source(cfg)
    collate, _ = make_collate(cfg, model, source)
    records = [source.split("test")[i] for i in range(8)]
    with torch.no_grad():
        before = model(collate(records)).scores.tolist()
    train(cfg)
    filed = read_table(folder).scores["untrained"]
    assert before == pytest.approx([filed[r.id, k] for r in records for k in (0, 1)], abs=1e-5)


def test_evaluate_continues_and_does_not_repeat(folder: Path) -> None:
    train(config())
    scores = (folder / "scores.jsonl").read_text()
    metrics = (folder / "metrics.json").read_text()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["task=evaluate", f"run={folder}"])
    evaluate(cfg)
    assert (folder / "scores.jsonl").read_text() == scores, "finished work is not repeated"
    lines = scores.splitlines(keepends=True)
    (folder / "scores.jsonl").write_text("".join(lines[: len(lines) // 2]) + lines[-1][:20])
    evaluate(cfg)
    assert sorted((folder / "scores.jsonl").read_text().splitlines()) == sorted(scores.splitlines())
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(metrics)


@pytest.mark.slow
def test_evaluate_writes_damaged_metrics_anew(folder: Path) -> None:
    """As a comparison of such a run advises."""
    train(config("evaluation.conditions=[intact]"))
    path = folder / "metrics.json"
    accuracy = json.loads(path.read_text())["benchmarks"]["digits"]["accuracy"]
    copy = shutil.copytree(folder, folder / "again")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["task=evaluate", f"run={folder}", "tracking=none"])
    cfg.evaluation.conditions = ["intact"]
    for damaged in (b'{"bench', b"[]", b"{}", b'{"training": 1}', b"\xff"):
        path.write_bytes(damaged)
        assert evaluate(cfg) == accuracy
        metrics = json.loads(path.read_text())
        assert metrics["benchmarks"]["digits"]["accuracy"] == accuracy
        assert metrics["training"] == {}, "what it cost was known there alone"
        assert len(read_runs([folder, copy])) == 2


def test_the_head_and_everything_else_is_trained_saved_and_restored(folder: Path) -> None:
    cfg = config()
    before = {n: p.clone() for n, p in fresh_model(cfg).named_parameters()}
    train(cfg)
    saved = load_file(folder / "model" / "model.safetensors")
    unchanged = [n for n in before if torch.equal(before[n], saved[n])]
    # A constant added to every score cancels in every difference: its gradient is exactly zero.
    assert unchanged == ["head.score.bias"]
    in_checkpoint = checkpoint(folder)["state_dict"]
    assert {f"model.{n}" for n in before} == set(in_checkpoint)
    restored, _ = load_bundle(folder / "model")
    assert equal(dict(restored.state_dict()), saved)


def test_a_checkpoint_holds_plain_data_and_what_is_trained(folder: Path) -> None:
    cfg = config()
    model = fresh_model(cfg)
    model.backbone.requires_grad_(False)
    module = RewardModule(model, torch.nn.Identity(), None, None, {"seed": 0})  # type: ignore
    saved = {"state_dict": dict(module.state_dict())}
    module.on_save_checkpoint(saved)
    assert set(saved["state_dict"]) == {"model.head.score.weight", "model.head.score.bias"}
    assert saved["config"] == {"seed": 0}
    with pytest.raises(ValueError, match="another model"):
        module.on_load_checkpoint({"state_dict": {}})


@pytest.mark.parametrize("killed_in_step", [7, 9, 11])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in_step: int
) -> None:
    """Killed in the middle of an epoch, right after its end, in the middle of the next one."""
    whole = run(tmp_path / "whole", monkeypatch=monkeypatch)

    with monkeypatch.context() as patch:
        killed_in(killed_in_step, patch)
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path / "broken", monkeypatch=monkeypatch)

    broken = tmp_path / "broken"
    assert checkpoint(broken)["global_step"] == 4 * ((killed_in_step - 1) // 4)
    resumed = run(broken, f"resume={broken}", monkeypatch=monkeypatch)
    assert checkpoint(broken)["global_step"] == 12
    last, expected = checkpoint(broken), checkpoint(tmp_path / "whole")
    assert equal(last["state_dict"], expected["state_dict"])
    assert equal(resumed, whole)


@pytest.mark.parametrize(
    ("stops", "accumulated"),
    [
        ((3,), 1),
        ((3,), 2),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (((4,), 1), ((8,), 1), ((9,), 1), ((3, 5), 1), ((5, 10), 1), ((4,), 2))
        ),
    ],
)
def test_a_run_that_was_given_more_steps_equals_one_that_had_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: tuple[int, ...], accumulated: int
) -> None:
    """Stopped in the middle of an epoch of 8 batches, at a validation, at its end, twice."""
    # A schedule that knows the number of steps would be another one.
    same = ("scheduler=constant", f"trainer.accumulate_grad_batches={accumulated}")
    whole = run(tmp_path / "whole", *same, monkeypatch=monkeypatch)
    folder = tmp_path / "stopped"
    run(folder, *same, f"trainer.max_steps={stops[0]}", monkeypatch=monkeypatch)
    for steps in (*stops[1:], 12):
        saved = OmegaConf.load(
            folder / "config.yaml"
        )  # as trainer.max_steps= on the line changes it
        saved.trainer.max_steps = steps
        OmegaConf.save(saved, folder / "config.yaml")
        resumed = run(folder, f"resume={folder}", monkeypatch=monkeypatch)
        assert checkpoint(folder)["global_step"] == steps
    last, expected = checkpoint(folder), checkpoint(tmp_path / "whole")
    assert equal(last["state_dict"], expected["state_dict"])
    assert equal(resumed, whole)


@pytest.mark.slow
@pytest.mark.parametrize("ended_in", ["step 2", "step 9", "evaluation"])
def test_a_job_of_a_sweep_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_in: str
) -> None:
    """Before its first checkpoint, after one, after training: the same command again gives what
    it would have given."""
    whole = run(tmp_path / "whole", monkeypatch=monkeypatch)
    monkeypatch.setenv(SWEEP, "sweep")
    step = RewardModule.training_step
    with monkeypatch.context() as patch:

        def dies(self: RewardModule, batch: Any, batch_idx: int) -> Any:
            if ended_in == f"step {self.global_step + 1}":
                raise RuntimeError("killed")
            return step(self, batch, batch_idx)

        def killed(*_: Any, **__: Any) -> Any:
            raise RuntimeError("killed")

        patch.setattr(RewardModule, "training_step", dies)
        if ended_in == "evaluation":
            patch.setattr("mmreward.tasks.train.evaluate_model", killed)
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path / "job", monkeypatch=monkeypatch)
    before = checkpoint(tmp_path / "job") if ended_in == "evaluation" else None
    assert equal(run(tmp_path / "job", monkeypatch=monkeypatch), whole)
    seconds = json.loads((tmp_path / "job/metrics.json").read_text())["training"]["seconds"]
    if before:  # no step was left to train
        told = before["callbacks"]["Throughput"]["seconds"]
        assert seconds == pytest.approx(told, abs=0.01)
    assert 0 < seconds < 60
    scores = [(tmp_path / name / "scores.jsonl").read_text() for name in ("whole", "job")]
    assert scores[0] == scores[1]
    steps = [row["step"] for row in map(json.loads, (tmp_path / "job/curves.jsonl").open())]
    assert steps[-1] == 12 and steps.count(1) == 1  # a try without a checkpoint leaves no curves


def test_the_seed_decides_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path / "a", "seed=0", monkeypatch=monkeypatch)
    again = run(tmp_path / "b", "seed=0", monkeypatch=monkeypatch)
    other = run(tmp_path / "c", "seed=1", monkeypatch=monkeypatch)
    assert equal(first, again)
    assert not equal(first, other)


def test_accumulating_four_batches_of_two_equals_one_of_eight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = ("trainer.max_steps=2", "trainer.val_check_interval=null", "optimizer.lr=1e-4")
    whole = run(tmp_path / "whole", *long, monkeypatch=monkeypatch)
    parts = run(
        tmp_path / "parts",
        *long,
        "data.batch_size=2",
        "trainer.accumulate_grad_batches=4",
        monkeypatch=monkeypatch,
    )
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], atol=2e-5, rtol=1e-4)
    # The norm is of all accumulated gradients, not of the last batch's.
    norms = [
        [row["train/grad_norm"] for row in read_rows(folder / CURVES)[0] if "train/lr" in row]
        for folder in (tmp_path / "whole", tmp_path / "parts")
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4) and len(norms[0]) == 2


def test_init_from_takes_the_weights_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path / "first", monkeypatch=monkeypatch)
    still = ("optimizer.lr=0.0", "optimizer.weight_decay=0.0", f"init_from={tmp_path / 'first'}")
    second = run(tmp_path / "second", *still, "seed=5", monkeypatch=monkeypatch)
    assert equal(first, second)


def test_a_folder_with_a_run_in_it_is_left_alone(folder: Path) -> None:
    train(config("trainer.max_steps=1"))
    before = (folder / "scores.jsonl").read_text()
    with pytest.raises(UserError, match="already holds a run"):
        train(config("seed=1"))
    assert (folder / "scores.jsonl").read_text() == before


def test_resuming_refuses_another_model(folder: Path) -> None:
    train(config("trainer.max_steps=4"))
    cfg = config(f"resume={folder}")
    with pytest.raises(UserError, match="optimizer.lr"):
        resume_run(cfg, [f"resume={folder}", "optimizer.lr=3"])
    longer = config(f"resume={folder}", "trainer.max_steps=20")
    longer.trainer.val_check_interval = 77  # what the command line did not name
    _, saved = resume_run(longer, [f"resume={folder}", "trainer.max_steps=20"])
    assert saved.trainer.max_steps == 20
    assert saved.trainer.val_check_interval == 4
    assert OmegaConf.load(folder / "config.yaml").trainer.max_steps == 20


def test_the_steps_after_the_last_validation_count(folder: Path) -> None:
    train(config("trainer.max_steps=6"))
    assert checkpoint(folder)["global_step"] == 6
    saved = load_file(folder / "model" / "model.safetensors")
    names = {p.name: p for p in (folder / "checkpoints").iterdir()}
    states = {
        name: torch.load(path, weights_only=True)["state_dict"] for name, path in names.items()
    }
    assert sorted(states) == ["best-step=4.ckpt", "last.ckpt"]
    kept = [
        name
        for name, state in states.items()
        if all(torch.equal(saved[n.removeprefix("model.")], t) for n, t in state.items())
    ]
    assert len(kept) == 1, "the bundle holds the better of the two, whole"


@pytest.mark.parametrize("mode", ["max", "min"])
def test_what_it_returns_is_the_best_validation_whatever_the_test_split_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Of steps 4, 8 and 10, the last of which is the end."""
    found = {4: 0.5, 8: 0.25, 10: 0.75}

    def validation_step(self: RewardModule, batch: Any, batch_idx: int) -> None:
        self.log("val/accuracy", found[self.trainer.global_step], batch_size=1)

    monkeypatch.setattr(RewardModule, "validation_step", validation_step)
    assert train(config("trainer.max_steps=10", f"checkpoint.best.mode={mode}")) == (
        0.75 if mode == "max" else 0.25
    )


def test_without_a_validation_split_there_is_nothing_to_search_by(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(digits.TWINS, "validation", 0)
    assert train(config("trainer.max_steps=6")) is None
    assert json.loads((folder / "metrics.json").read_text())["benchmarks"]["digits"]["n"] == 72


def test_plugins_of_the_trainer_are_used_beside_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = "lightning.pytorch.plugins"
    plugins = {f"{at}.environments.TorchElasticEnvironment", f"{at}.io.TorchCheckpointIO"}
    known = allowed_targets() | plugins  # as if a yaml in conf/ named them
    monkeypatch.setattr(mmreward.config, "allowed_targets", lambda: known)
    for name, value in (("LOCAL_RANK", "0"), ("RANK", "0"), ("WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1")
    cfg = config(*ddp, "trainer.precision=32-true")
    with open_dict(cfg):
        cfg.trainer.plugins = [{"_target_": f"{at}.environments.TorchElasticEnvironment"}]
    trainer, _ = make_trainer(cfg, tmp_path)
    assert type(trainer.strategy.cluster_environment).__name__ == "TorchElasticEnvironment"
    assert isinstance(trainer.strategy.checkpoint_io, WholeFiles)
    with open_dict(cfg):
        cfg.trainer.plugins = [{"_target_": f"{at}.io.TorchCheckpointIO"}]
    trainer, _ = make_trainer(cfg, tmp_path)
    assert not isinstance(trainer.strategy.checkpoint_io, WholeFiles), "their own way of saving"


def test_a_run_shorter_than_the_first_validation_is_kept(folder: Path) -> None:
    train(config("trainer.max_steps=2"))
    last = checkpoint(folder)["state_dict"]
    saved = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(saved[n.removeprefix("model.")], t) for n, t in last.items())


def test_starting_weights_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "first", "trainer.max_steps=1", monkeypatch=monkeypatch)
    other = ("model.backbone.hidden_size=64", f"init_from={tmp_path / 'first'}")
    with pytest.raises(UserError, match="does not fit"):
        run(tmp_path / "second", *other, monkeypatch=monkeypatch)
    (tmp_path / "first" / "model" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="does not exist"):
        run(tmp_path / "third", f"init_from={tmp_path / 'first'}", monkeypatch=monkeypatch)


def test_resuming_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        train(config(f"resume={folder / 'nowhere'}"))
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"no config\.yaml"):
        train(config(f"resume={folder / 'empty'}"))


def test_both_limits_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="leave the other at -1"):
        train(config("trainer.max_epochs=2"))


def test_early_stopping_stops(folder: Path) -> None:
    train(
        config(
            "early_stopping=default",
            "early_stopping.patience=1",
            "optimizer.lr=0.0",
            "trainer.max_steps=100",
        )
    )
    assert json.loads((folder / "metrics.json").read_text())["training"]["steps"] == 8


def test_a_loss_that_is_no_number_stops_with_a_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"optimizer\.lr"):
        train(config("optimizer.lr=1e30", "trainer.gradient_clip_val=null"))


class TestSampler:
    def test_an_epoch_sees_every_record_once_and_epochs_differ(self) -> None:
        sampler = ResumableSampler(20, seed=0)
        first = list(sampler)
        sampler.set_epoch(1)
        second = list(sampler)
        assert sorted(first) == sorted(second) == list(range(20))
        assert first != second
        assert list(ResumableSampler(20, seed=1)) != first

    def test_it_starts_in_the_middle_once(self) -> None:
        sampler = ResumableSampler(20, seed=0)
        whole = list(sampler)
        sampler.start = 8
        assert list(sampler) == whole[8:]
        assert list(sampler) == whole

    def test_ranks_share_the_records_without_overlap_and_equally(self) -> None:
        parts = [list(ResumableSampler(21, 0, rank, 2)) for rank in (0, 1)]
        assert len(parts[0]) == len(parts[1]) == 10
        assert not set(parts[0]) & set(parts[1])

    def test_blocks_stay_together(self) -> None:
        order = list(ResumableSampler(21, 0, block=4))
        assert sorted(order) == list(range(21))
        starts = [i for i in order if i % 4 == 0]
        assert starts != sorted(starts)
        for start in starts:
            place = order.index(start)
            block = range(start, min(start + 4, 21))
            assert order[place : place + len(block)] == list(block)
        halves = [list(ResumableSampler(21, 0, rank, 2, block=4)) for rank in (0, 1)]
        assert len(halves[0]) == len(halves[1]) and not set(halves[0]) & set(halves[1])
