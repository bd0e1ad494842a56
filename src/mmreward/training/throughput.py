"""What training costs: seconds, pairs per second, peak memory."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from mmreward.data.prefix import PrefixBatch


class Throughput(pl.Callback):
    """Counts pairs, cut records and seconds of training, validation left out; shows the rate. Pairs
    and records are those of all ranks.

    memory: most that was used since training began, in MB (10⁶ B): of the GPU if it trains on one,
            else of this process. None where that cannot be told from what an earlier training in
            the same process used
    """

    def __init__(self) -> None:
        self.memory: float | None = 0.0
        self.seconds = 0.0
        # Of this rank, since it started: pairs, and records that lost text of their prompt, each as
        # often as it was trained on.
        self._own = torch.zeros(2, dtype=torch.long)
        self._earlier = torch.zeros(2, dtype=torch.long)  # of all ranks, before it was resumed
        self._total = torch.zeros(2, dtype=torch.long)
        self._since: float | None = None  # a run that was at its end before trains no more

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._strategy, self._device = trainer.strategy, trainer.strategy.root_device
        self._total = self._earlier
        if not forget_peak_memory(self._device):
            self.memory = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._since is not None:
            self._since = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()
        self._measure()
        self._add_up()
        self._since = None  # the validation after it is no training

    def _stop(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = time.perf_counter()

    def _measure(self) -> None:
        if self._since is not None and self.memory is not None:
            self.memory = max(self.memory, peak_memory_mb(self._device))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: PrefixBatch,
        batch_idx: int,
    ) -> None:
        self._own += torch.tensor([len(batch.pairs), batch.cuts])
        self._stop()
        # What all ranks did before a resumption counts once.
        earlier = float(self._earlier[0]) / trainer.world_size
        pl_module.log(
            "train/pairs_per_second", (float(self._own[0]) + earlier) / self.seconds,
            prog_bar=True, batch_size=1, sync_dist=trainer.world_size > 1, reduce_fx="sum",
        )  # fmt: skip

    def _add_up(self) -> None:
        """Of all ranks; each has to call it."""
        own = self._strategy.reduce(self._own.to(self._device, copy=True), reduce_op="sum")
        self._total = self._earlier + own.cpu()

    def state_dict(self) -> dict[str, Any]:
        self._measure()
        if self._since is not None:
            self._add_up()
        pairs, cut = self._total.tolist()
        return {"seconds": self.seconds, "pairs": pairs, "cut": cut, "memory": self.memory}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]
        self._earlier = self._total = torch.tensor([state_dict["pairs"], state_dict["cut"]])
        before = state_dict.get("memory", 0.0)
        self.memory = None if self.memory is None or before is None else max(self.memory, before)

    def summary(self, steps: int) -> dict[str, float]:
        """The `training` part of metrics.json."""
        pairs, cut = self._total.tolist()
        return {
            "seconds": round(self.seconds, 2),
            "pairs_per_second": round(pairs / self.seconds, 2) if self.seconds else 0.0,
            **({"peak_memory_mb": round(self.memory, 1)} if self.memory else {}),
            "steps": steps,
            "records_cut": cut,
        }


# Linux: "5" written there forgets the process's peak, which the other file holds.
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")

_measured = False  # in this process


def forget_peak_memory(device: torch.device) -> bool:
    """Lets `peak_memory_mb` measure from now on; whether it will, as it does the first time."""
    global _measured
    first, _measured = not _measured, True
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        CLEAR.write_text("5")
    except OSError:
        return first
    return True


def peak_memory_mb(device: torch.device) -> float:
    """Most memory used so far, since it was forgotten if that could be done (MB = 10⁶ B)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if STATUS.is_file():
        rows = dict(row.split(":", 1) for row in STATUS.read_text().splitlines())
        if "VmHWM" in rows:
            return int(rows["VmHWM"].split()[0]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
