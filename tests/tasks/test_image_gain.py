"""Does the image gain tell a model that learned to look from one that could not?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from mmreward.analysis.findings import warnings
from mmreward.config import CONF
from mmreward.report.wording import words
from mmreward.tasks.train import train

pytestmark = pytest.mark.slow


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> dict[str, Any]:
    """The metrics of a short run on digits: 1,038 test pairs of 347 scans."""
    monkeypatch.chdir(folder)
    fixed = (
        "evaluation.conditions=[intact,blind_image]",
        "trainer.val_check_interval=null",
        "trainer.enable_progress_bar=false",
        "tracking=none",
    )
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(compose("config", [*fixed, *overrides]))
    metrics = json.loads((folder / "metrics.json").read_text())["benchmarks"]["digits"]
    assert metrics["controls"]["blind_image"]["accuracy"] == 0.5, "words alone tell nothing"
    return metrics


def test_a_trained_model_gains_by_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = trained(tmp_path, monkeypatch, "trainer.max_steps=200")
    gain = metrics["image_gain"]
    assert gain["difference"] > 0.25 and gain["ci95"][0] > 0.2
    assert gain["difference"] == pytest.approx(metrics["accuracy"] - 0.5)
    assert warnings(metrics) == []
    assert "the model uses them" in (tmp_path / "report.md").read_text()


def test_a_model_trained_with_blind_images_gains_nothing_and_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its test images are whole: it could use them if it had learned how."""
    metrics = trained(tmp_path, monkeypatch, "trainer.max_steps=100", "data.images=blind")
    low, high = metrics["image_gain"]["ci95"]
    assert low < 0 < high and high - low < 0.12
    assert metrics["accuracy"] != 0.5, "twins differ in their images alone: these were shown"
    (found,) = [found for found in warnings(metrics) if found.kind == "image_gain_unshown"]
    assert found.numbers == metrics["image_gain"]
    warning = words(found)
    assert f"> **Warning.** {warning}" in (tmp_path / "report.md").read_text()
    assert warning in capsys.readouterr().out
