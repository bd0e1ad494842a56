"""Training on own rows, end to end: what is missing or unusable, wherever it shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from own_data import png, text_rows, write_jsonl

from mmreward.config import CONF
from mmreward.data.bad_records import read_bad_records
from mmreward.errors import UserError
from mmreward.tasks.evaluate import evaluate
from mmreward.tasks.train import train

SMALL = (
    "model.backbone.hidden_size=32",
    "model.backbone.vision_depth=1",
    "data/source=jsonl",
    "data.batch_size=4",
    "trainer.max_steps=6",
    "trainer.val_check_interval=3",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "evaluation.conditions=[intact]",
    "tracking=none",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder: Path, rows: list[dict[str, Any]], *overrides: str) -> dict[str, Any]:
    """metrics.json of a run on the rows."""
    path = write_jsonl(folder / "pairs.jsonl", rows)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(compose("config", [*SMALL, f"data.source.path={path}", *overrides]))
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def long(rows: list[dict[str, Any]], *numbers: int) -> list[dict[str, Any]]:
    """The rows with answers too long for 100 tokens at these places."""
    return [
        {**row, "response": ["no. " * 200, "yes"]} if number in numbers else row
        for number, row in enumerate(rows)
    ]


def test_without_a_validation_split_the_last_weights_are_kept(folder: Path) -> None:
    metrics = run(folder, text_rows(60), "data.source.validation=0")
    assert metrics["training"]["steps"] == 6
    assert (folder / "model" / "model.safetensors").is_file()


def test_a_bad_record_in_a_data_worker_is_one_sentence(folder: Path) -> None:
    rows = text_rows(40)
    whole = png(64, 64)
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    rows = [{**row, "image": "cut.png"} if n % 2 else row for n, row in enumerate(rows)]
    with pytest.raises(UserError) as raised:
        run(folder, rows, "data.num_workers=1", "data.source.validation=0", "data.source.test=0.1")
    assert "cut.png cannot be read" in str(raised.value) and "\n" not in str(raised.value)


def test_the_first_records_may_be_unusable(folder: Path) -> None:
    rows = long(text_rows(60), *range(30))
    run(folder, rows, "data.on_bad_record=skip", "data.max_length=100")
    assert len(read_bad_records(folder)) > 0


def test_nothing_usable_is_said_so(folder: Path) -> None:
    rows = long(text_rows(30), *range(30))
    with pytest.raises(UserError, match=r"no record of the training split can be used; .*row \d+"):
        run(folder, rows, "data.on_bad_record=skip", "data.max_length=100")


def test_ties_alone_are_no_test(folder: Path) -> None:
    """Before training, not after it."""
    ties = [{**row, "human_ranking": [0, 0]} for row in text_rows(10)]
    path = write_jsonl(folder / "ties.jsonl", ties)
    with pytest.raises(UserError, match="has no pair to judge"):
        run(folder, text_rows(40), f"data.source.test_path={path}")
    assert not (folder / "checkpoints").exists()


def test_a_batch_of_which_nothing_is_left_suits_every_loss(folder: Path) -> None:
    rows = long(text_rows(24), 1, 5, 9, 13, 17)
    overrides = ("loss=plackett_luce", "data.batch_size=1", "trainer.max_steps=20")
    run(folder, rows, "data.on_bad_record=skip", "data.max_length=100", *overrides)


def test_a_run_whose_source_still_had_images_is_scored(folder: Path) -> None:
    path = write_jsonl(folder / "pairs.jsonl", text_rows(60))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(compose("config", [*SMALL, f"data.source.path={path}", "data.images=drop"]))
        saved = OmegaConf.load(folder / "config.yaml")
        saved.data.source.images = "drop"
        OmegaConf.save(saved, folder / "config.yaml")
        evaluation = [f"run={folder}", "benchmark.preference.split=validation", "tracking=none"]
        accuracy = evaluate(compose("config", ["task=evaluate", *evaluation]))
    assert 0 <= accuracy <= 1


def test_what_was_cut_and_left_out_is_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, "query": "Well, " * 60 + row["query"]} for row in text_rows(60)]
    options = ("data.on_bad_record=skip", "data.max_length=100")
    metrics = run(folder, long(rows, 3, 30, 31, 32), *options)
    assert metrics["training"]["records_cut"] > 20
    screen = capsys.readouterr().out
    assert "cut to 100 tokens" in screen
    assert f"{metrics['training']['records_cut']} records lost text" in screen
    assert f"left out: {len(read_bad_records(folder))} bad records" in screen.splitlines()[-2]
