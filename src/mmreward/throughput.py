"""What training costs: seconds, pairs per second, peak memory."""

from __future__ import annotations

import resource
import time
from typing import Any

import lightning.pytorch as pl
import torch

from mmreward.data.prefix import PrefixBatch


class Throughput(pl.Callback):
    """Counts pairs, cut records and seconds of training, validation left out; shows the rate."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pairs = 0
        self.cut = 0  # records that lost text of their prompt, each as often as it was trained on
        self._since: float | None = None  # a run that was at its end before trains no more

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._since is not None:
            self._since = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()
        self._since = None  # the validation after it is no training

    def _stop(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: PrefixBatch,
        batch_idx: int,
    ) -> None:
        self.pairs += len(batch.pairs)
        self.cut += batch.cuts
        self._stop()
        rate = self.pairs / self.seconds
        pl_module.log("train/pairs_per_second", rate, prog_bar=True, batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "pairs": self.pairs, "cut": self.cut}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.pairs = state_dict["seconds"], state_dict["pairs"]
        self.cut = state_dict["cut"]

    def summary(self, steps: int) -> dict[str, float]:
        """The `training` part of metrics.json."""
        return {
            "seconds": round(self.seconds, 2),
            "pairs_per_second": round(self.pairs / self.seconds, 2) if self.seconds else 0.0,
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "steps": steps,
            "records_cut": self.cut,
        }


def peak_memory_mb() -> float:
    """Most memory used so far: of the GPU if it was used, else of this process (MB = 10⁶ B)."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
