"""More steps for a run, as a user types it: the same as if it had had them from the start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from score_tables import ROOT
from small_training import SMALL, equal

pytestmark = pytest.mark.slow


def run(folder: Path, *line: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *line], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_run_in_the_middle_of_an_epoch_is_given_more_steps(tmp_path: Path) -> None:
    same = (*SMALL, "scheduler=constant", "evaluation.conditions=[intact]")
    run(tmp_path, *same, "hydra.run.dir=whole")
    run(tmp_path, *same, "trainer.max_steps=5", "hydra.run.dir=stopped")
    run(tmp_path, "resume=stopped", "trainer.max_steps=12", "tracking=none")
    whole, stopped = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "stopped")
    )
    assert equal(whole, stopped)
    for name in ("scores.jsonl", "records.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (
            tmp_path / "stopped" / name
        ).read_bytes()
