"""A finished run is scored on other files and splits, as a user types it; nothing is replaced."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from own_data import write_jsonl
from score_tables import ROOT

pytestmark = pytest.mark.slow

TINY = (
    "model=text", "model.backbone.hidden_size=32", "model.backbone.layers=1",
    "data/source=jsonl", "data.source.test=0.2", "data.source.validation=0.1",
    "data.batch_size=8", "trainer.max_steps=4", "trainer.val_check_interval=4", "tracking=none",
    "evaluation.conditions=[intact,normalised]",
)  # fmt: skip
# What the same option says for another file of that run.
OTHER = ("data/source@benchmark.preference.source=jsonl", "benchmark.preference.split=all")


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments], cwd=folder, capture_output=True,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pairs(path: Path, number: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    rows = [
        {"query": f"{path.parent.name} {n}?", "response": ["yes  it is", "no"],
         "human_ranking": [n % 2, 1 - n % 2]}
        for n in range(number)
    ]  # fmt: skip
    return write_jsonl(path, rows)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other_files")
    path = pairs(folder / "mine" / "pairs.jsonl", 80)
    run(folder, *TINY, f"data.source.path={path}", "hydra.run.dir=trained")
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "trained", tmp_path / "run")
    return tmp_path


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run" / "metrics.json").read_text())["benchmarks"]


def test_another_file_of_the_same_name_is_another_set(folder: Path) -> None:
    before = results(folder)
    path = pairs(folder / "theirs" / "pairs.jsonl", 30)
    line = ("task=evaluate", "run=run", *OTHER, f"benchmark.preference.source.path={path}",
            "tracking=none")  # fmt: skip
    run(folder, *line)
    after = results(folder)
    (added,) = set(after) - set(before)
    assert added.startswith("pairs@") and after[added]["n"] == 30
    assert after["pairs"] == before["pairs"] and before["pairs"]["n"] == 16
    scores = (folder / "run" / "scores.jsonl").read_text()
    run(folder, *line)  # again: the same set, and nothing is scored twice
    assert results(folder) == after and (folder / "run" / "scores.jsonl").read_text() == scores


def test_all_splits_of_a_run_whose_test_split_was_scored(folder: Path) -> None:
    """Under fewer conditions than that split, too; comparisons work with it."""
    before = results(folder)
    run(folder, "task=evaluate", "run=run", "benchmark.preference.split=all",
        "evaluation.conditions=[intact]", "tracking=none")  # fmt: skip
    after = results(folder)
    assert after["pairs"] == before["pairs"] and "normalised" in after["pairs"]["controls"]
    assert after["pairs-all"]["n"] == 80 and "normalised" not in after["pairs-all"]["controls"]
    shutil.copytree(folder / "run", folder / "copy")
    run(folder, "task=compare", "runs=[run,copy]", "tracking=none", "hydra.run.dir=out")
    compared = json.loads((folder / "out" / "comparison.json").read_text())["benchmarks"]
    assert {name: found["n"] for name, found in compared.items()} == {"pairs": 16, "pairs-all": 80}
