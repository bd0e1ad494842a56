"""Ctrl-C and SIGTERM, to this process and to runs of run.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import lightning.pytorch as pl
import pytest
from launched import members, until
from lightning.pytorch.demos.boring_classes import BoringModel

from mmreward.config import ROOT
from mmreward.training.interruption import ENDING, OwnSignal, interruptible

TINY = (
    "model.backbone.hidden_size=32",
    "model.backbone.layers=1",
    "model.backbone.vision_depth=1",
    "data.batch_size=4",
    "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "evaluation.conditions=[intact]",
    "hydra.run.dir=run",
)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_what_is_inside_with_the_code_of_shells(number: int, code: int) -> None:
    handlers = [signal.getsignal(each) for each in ENDING]

    def work() -> None:
        with interruptible() as received:
            try:
                os.kill(os.getpid(), number)
                signal.pause()  # never returned from
            finally:
                assert received == [number]

    with pytest.raises(SystemExit) as ended:
        work()
    assert ended.value.code == code
    assert [signal.getsignal(each) for each in ENDING] == handlers


def test_other_errors_and_other_threads_are_left_alone() -> None:
    with pytest.raises(ZeroDivisionError), interruptible():
        _ = 1 / 0
    seen = []

    def elsewhere() -> None:
        with interruptible() as received:
            seen.append(received)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [[]]


def test_in_training_sigterm_is_not_lightnings(tmp_path: Path) -> None:
    handlers: list[object] = []

    class Seen(pl.Callback):
        def on_train_batch_start(self, *_: object) -> None:
            handlers.append(signal.getsignal(signal.SIGTERM))

    with interruptible():
        own = signal.getsignal(signal.SIGTERM)
        pl.Trainer(
            callbacks=[OwnSignal(), Seen()], max_steps=2, accelerator="cpu", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, num_sanity_val_steps=0,
            default_root_dir=tmp_path,
        ).fit(BoringModel())  # fmt: skip
        assert signal.getsignal(signal.SIGTERM) is own
    assert handlers == [own, own]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "written"),
    [(signal.SIGTERM, "curves.jsonl"), (signal.SIGINT, "curves.jsonl"),
     (signal.SIGTERM, "scores.jsonl")],
)  # fmt: skip
def test_a_run_that_is_ended_says_so_and_goes_on(
    tmp_path: Path, number: signal.Signals, written: str
) -> None:
    """In training and in evaluation."""
    steps = 2000 if written == "curves.jsonl" else 4
    command = [sys.executable, str(ROOT / "run.py"), *TINY, f"trainer.max_steps={steps}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    last = tmp_path / "run/checkpoints/last.ckpt"
    found = tmp_path / "run" / written
    until(lambda: last.is_file() and found.is_file() and found.stat().st_size > 0)
    process.send_signal(number)
    screen, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"ended by {number.name}; python run.py resume=run goes on" in screen
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "KILLED"

    steps = torch_steps(last) + 2 if written == "curves.jsonl" else 4
    again = [*command[:2], "resume=run", f"trainer.max_steps={steps}"]
    subprocess.run(again, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "FINISHED"
    assert json.loads((tmp_path / "run/metrics.json").read_text())["training"]["steps"] == steps


@pytest.mark.slow
def test_a_run_of_two_ranks_ends_as_well(tmp_path: Path) -> None:
    ranks = (
        "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
        "trainer.precision=32-true", "trainer.max_steps=20000",
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *TINY, *ranks],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    last = tmp_path / "run/checkpoints/last.ckpt"
    try:
        until(last.is_file, 200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=90) == 128 + signal.SIGTERM
        assert until(lambda: not members(process.pid), 30), "the other rank ends with it"
        assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "KILLED"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def torch_steps(checkpoint: Path) -> int:
    """The step a checkpoint was written at."""
    import torch

    return int(torch.load(checkpoint, weights_only=True)["global_step"])
