"""A training of two real ranks: each has its share of the data, and numbers are those of both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from own_data import row, write_jsonl
from score_tables import ROOT

from mmreward.curve_file import CURVES, read_rows

pytestmark = pytest.mark.slow

# Writes which records each rank validated on, then runs as ever.
PROGRAM = f"""
import json, os, sys
from mmreward.training.lightning_module import RewardModule
plain = RewardModule.validation_step
def step(self, batch, batch_idx):
    with open(os.environ["SEEN"] + str(self.global_rank), "a") as file:
        file.write(json.dumps([self.global_step, list(batch.record_ids)]) + "\\n")
    return plain(self, batch, batch_idx)
RewardModule.validation_step = step
import runpy
runpy.run_path({str(ROOT / "run.py")!r}, run_name="__main__")
"""
LINE = (
    "model=text", "model.backbone.hidden_size=32", "model.backbone.layers=1",
    "data/source=jsonl", "data.source.path=train.jsonl", "data.source.test_path=test.jsonl",
    "data.source.validation_path=validation.jsonl", "data.batch_size=2", "data.eval_batch_size=3",
    "data.max_length=60", "trainer.max_steps=4", "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1", "trainer.accelerator=cpu", "trainer.precision=32-true",
    "trainer.enable_progress_bar=false", "evaluation.conditions=[intact]", "tracking=none",
    "optimizer.lr=0",
)  # fmt: skip


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def ran(folder: Path, name: str, *more: str, launcher: tuple[str, ...] = ()) -> dict[str, Any]:
    (folder / "program.py").write_text(PROGRAM)
    for split, number in (("train", 40), ("validation", 12), ("test", 4)):
        rows = [row(id=f"{split} {n}", query=f"{split} {n} " + "so " * (n % 2) * 60)
                for n in range(number)]  # fmt: skip
        write_jsonl(folder / f"{split}.jsonl", rows)
    done = subprocess.run(
        [sys.executable, *launcher, "program.py", *LINE, *more, f"hydra.run.dir={name}"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "SEEN": str(folder / f"{name}_seen")},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / name / "metrics.json").read_text())["training"]


def seen(folder: Path, name: str, rank: int) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for line in (folder / f"{name}_seen{rank}").read_text().splitlines():
        step, ids = json.loads(line)
        found.setdefault(step, []).extend(ids)
    return found


def curve(folder: Path, name: str) -> list[float]:
    return [found[name] for found in read_rows(folder / CURVES)[0] if name in found]


def test_two_ranks_share_the_validation_split_and_add_up_what_they_did(tmp_path: Path) -> None:
    cost = ran(tmp_path, "two", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
               "trainer.precision=32-true", launcher=TORCHRUN)  # fmt: skip
    alone = ran(tmp_path, "one", "data.batch_size=4")
    first, second = (seen(tmp_path, "two", rank) for rank in (0, 1))
    whole = seen(tmp_path, "one", 0)
    assert set(first) == set(second) == set(whole) == {2, 4}
    for step, ids in whole.items():
        assert len(ids) == len(set(ids)) == 12
        assert len(first[step]) == len(second[step]) == 6
        assert set(first[step]) | set(second[step]) == set(ids)
    # Nothing is learned, so the validation's numbers are those of the split, however it was dealt.
    losses = curve(tmp_path / "two", "val/loss")
    assert losses == pytest.approx(curve(tmp_path / "one", "val/loss"), rel=1e-5)
    assert len(losses) == 2
    # Both ranks together: 4 steps of 2 x 2 records, every other record cut.
    assert cost["pairs_per_second"] * cost["seconds"] == pytest.approx(16, rel=0.15)
    assert alone["pairs_per_second"] * alone["seconds"] == pytest.approx(16, rel=0.15)
    assert 0 < cost["records_cut"] <= 16 and 0 < alone["records_cut"] <= 16
    shown = curve(tmp_path / "two", "train/pairs_per_second")
    assert shown[-1] == pytest.approx(cost["pairs_per_second"], rel=0.5)
