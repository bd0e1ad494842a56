"""The run folder's own record of a training: curves.jsonl, one line per logged step."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from mmreward.curve_file import CURVES, append_row, read_rows

# What the report draws, by the names Lightning logs them under.
DRAWN = {
    "train/loss": "training loss",
    "train/accuracy": "training accuracy",
    "val/accuracy": "validation accuracy",
}


class Curves(pl.Callback):
    """Appends what was logged, so that the report needs no tracker and survives one that dies.

    Trackers read this file: they show the same points at the same times.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / CURVES
        self._written = 0  # an accumulated step ends several batches and is one line

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        step = trainer.global_step
        if trainer.is_global_zero and step % every == 0 and step != self._written:
            self._written = step
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self._write(trainer, "train/", {"train/lr": rate})

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._write(trainer, "val/", {})

    def _write(self, trainer: pl.Trainer, prefix: str, more: dict[str, float]) -> None:
        values = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(prefix)
        }
        append_row(self.path, trainer.global_step, values | more)


def read_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Display name -> (step, value) rows, for the report; empty if the run logged nothing.

    A step that a resumed run trained again counts once, as it was the last time.
    """
    rows: dict[str, dict[int, float]] = defaultdict(dict)
    for row in read_rows(folder / CURVES)[0]:
        for name, value in row.items():
            if name in DRAWN:
                rows[DRAWN[name]][row["step"]] = value
    return {name: sorted(points.items()) for name, points in rows.items()}
