"""Which process writes, as each launcher of ranks tells it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmreward.config import ROOT
from mmreward.tracking import RunInfo

LAUNCHED = {
    "alone": ({}, True),
    "first of torchrun": ({"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, True),
    "second machine of torchrun": ({"RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, False),
    "second of Lightning's": ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
    "second machine of Lightning's": ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
    "first task of SLURM": ({"SLURM_PROCID": "0"}, True),
    "second task of SLURM": ({"SLURM_PROCID": "1"}, False),
}


@pytest.mark.slow  # every process imports Lightning
@pytest.mark.parametrize("launched", LAUNCHED)
def test_one_rank_writes(launched: str) -> None:
    environment, first = LAUNCHED[launched]
    clean = {k: v for k, v in os.environ.items() if "RANK" not in k and "SLURM" not in k}
    asked = "from mmreward.ranks import is_rank_zero; print(is_rank_zero())"
    answer = subprocess.check_output(
        [sys.executable, "-c", asked], env={**clean, **environment}, text=True
    )
    assert answer.strip() == str(first)


@pytest.mark.slow
def test_two_ranks_of_torchrun_leave_one_run(tmp_path: Path) -> None:
    tiny = (
        "model.backbone.hidden_size=32", "model.backbone.layers=1",
        "model.backbone.vision_depth=1", "data.source.train_records=64", "data.batch_size=4",
        "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
        "trainer.precision=32-true", "trainer.max_steps=4", "trainer.val_check_interval=4",
        "evaluation.conditions=[intact]", "hydra.run.dir=mine",
    )  # fmt: skip
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    done = subprocess.run(
        [*torchrun, "--nproc-per-node=2", str(ROOT / "run.py"), *tiny],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder: mine") == 1
    metrics = json.loads((tmp_path / "mine/metrics.json").read_text())
    assert metrics["training"]["steps"] == 4
    assert RunInfo.read(tmp_path / "mine").status == "FINISHED"
