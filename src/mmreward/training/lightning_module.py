"""The loop glue: model, loss and optimizer as a LightningModule. The mathematics is elsewhere."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from mmreward.data.prefix import PrefixBatch
from mmreward.errors import UserError
from mmreward.losses import pair_differences

# Names that wrappers put into parameter names; a checkpoint must load without the wrapper.
_WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


def plain_name(name: str) -> str:
    """A parameter's name as it is without FSDP and activation checkpointing around it."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def pair_correct(delta: Tensor) -> Tensor:
    """(P,) Δ -> 1 where the better answer scores higher, ½ where they tie, else 0."""
    return (delta > 0).float() + 0.5 * (delta == 0).float()


class RewardModule(pl.LightningModule):
    """Trains a reward model.

    model:     PrefixBatch -> RewardOutput
    loss:      (RewardOutput, PrefixBatch) -> LossOutput
    optimizer: called with parameter groups
    scheduler: called with the optimizer and `total_steps`
    config:    the run's plain configuration, stored in every checkpoint
    """

    # Checkpoints hold what is trained, not the frozen base.
    strict_loading = False

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer],
        scheduler: Callable[..., Any],
        config: dict[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.config = config
        # Plain numbers of this rank: a metric object's compute would wait for the other ranks,
        # and a rank whose batch holds no pair would not come.
        self.recent_loss: deque[float] = deque(maxlen=20)
        self.recent_accuracy: deque[float] = deque(maxlen=20)
        self.validated_at = -1  # step of the last validation
        self.val_loss = MeanMetric()
        self.val_accuracy = MeanMetric()
        self.val_margin = MeanMetric()
        self._rng: dict[str, Any] | None = None

    def forward(self, batch: PrefixBatch) -> Any:
        return self.model(batch)

    # -- steps -----------------------------------------------------------------------------

    def training_step(self, batch: PrefixBatch, batch_idx: int) -> Tensor:
        output = self.model(batch)
        loss = self.loss(output, batch)
        if not torch.isfinite(loss.total):
            raise UserError(
                f"the loss became {loss.total.item()} at step {self.global_step}; lower "
                "optimizer.lr, or use trainer.precision=bf16-mixed if it is 16-mixed"
            )
        delta = pair_differences(output, batch).detach()
        size = len(batch.record_ids)
        if len(delta) or len(batch.ties):  # a batch of which nothing is left has no loss
            self.recent_loss.append(loss.total.item())
        if self.recent_loss:
            self.log("train/loss", fmean(self.recent_loss), prog_bar=True, batch_size=size)
        if len(delta):
            self.recent_accuracy.append(pair_correct(delta).mean().item())
            accuracy = fmean(self.recent_accuracy)
            self.log("train/accuracy", accuracy, prog_bar=True, batch_size=size)
            self.log("train/margin", delta.mean(), batch_size=size)
        for name, value in loss.terms.items():
            self.log(f"train/{name}", value.detach(), batch_size=size)
        return loss.total

    def validation_step(self, batch: PrefixBatch, batch_idx: int) -> None:
        output = self.model(batch)
        size = len(batch.record_ids)
        # Weighted by records: the last batch of an epoch is smaller than the others.
        self.val_loss(self.loss(output, batch).total, batch.pair_weight.sum())
        self.log("val/loss", self.val_loss, prog_bar=True, batch_size=size)
        # Every rank updates every metric, a batch without pairs with nothing: the end of the
        # epoch gathers them from all ranks.
        delta = pair_differences(output, batch)
        correct, margin = (x.mean() if len(x) else x.sum() for x in (pair_correct(delta), delta))
        self.val_accuracy(correct, len(delta))
        self.val_margin(margin, len(delta))
        self.log("val/accuracy", self.val_accuracy, prog_bar=True, batch_size=size)
        self.log("val/margin", self.val_margin, batch_size=size)

    def on_validation_epoch_end(self) -> None:
        # Before the checkpoints of this validation are saved.
        self.validated_at = self.trainer.global_step

    # -- optimizer -------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        trainable = [p for p in self.parameters() if p.requires_grad]
        # FSDP flattens parameters to vectors; then nothing can be told apart by its shape.
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trainable if p.ndim >= 2]},
            {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = self.make_optimizer([group for group in groups if group["params"]])
        scheduler = self.make_scheduler(
            optimizer, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips, and logs the norm that the gradients had before: that of all accumulated batches
        and, under FSDP, of all ranks' shards, where Lightning refuses to clip."""
        wrapped = self.trainer.strategy.model
        clip_by_norm = gradient_clip_val and gradient_clip_algorithm in (None, "norm")
        limit = float(gradient_clip_val) if clip_by_norm and gradient_clip_val else math.inf
        if isinstance(wrapped, FullyShardedDataParallel):
            norm = wrapped.clip_grad_norm_(limit)
        else:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        self.log("train/grad_norm", norm, batch_size=1)
        if gradient_clip_val and not clip_by_norm:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    # -- checkpoints -----------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = {plain_name(n) for n, p in self.named_parameters() if p.requires_grad}
        buffers = {plain_name(n) for n, _ in self.loss.named_buffers(prefix="loss")}
        state = {plain_name(n): t for n, t in checkpoint["state_dict"].items()}
        checkpoint["state_dict"] = {n: t for n, t in state.items() if n in trained | buffers}
        checkpoint["config"] = self.config
        checkpoint["validated_at"] = self.validated_at
        checkpoint["rng"] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            checkpoint["rng"]["cuda"] = torch.cuda.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._rng = checkpoint.get("rng")
        self.validated_at = checkpoint.get("validated_at", -1)
        names = {plain_name(n) for n, p in self.named_parameters() if p.requires_grad}
        missing = sorted(names - set(checkpoint["state_dict"]))
        if missing:
            raise ValueError(
                f"the checkpoint lacks {len(missing)} trained parameters, {missing[0]} first; "
                "it belongs to another model"
            )

    def on_train_batch_start(self, batch: PrefixBatch, batch_idx: int) -> None:
        # Restored here and not on loading: between the two, setting up draws random numbers.
        if self._rng is not None:
            torch.set_rng_state(self._rng["cpu"].cpu())
            if "cuda" in self._rng and torch.cuda.is_available():
                torch.cuda.set_rng_state(self._rng["cuda"].cpu())
            self._rng = None
