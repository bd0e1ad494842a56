"""Learning-rate schedules, per optimizer step; `total_steps` is known when training starts."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup


def cosine(optimizer: Optimizer, total_steps: int, warmup: float) -> LambdaLR:
    """Linear warmup over the share `warmup` of all steps, then half a cosine down to 0."""
    return get_cosine_schedule_with_warmup(
        optimizer,
        num_warmup_steps=_warmup_steps(total_steps, warmup),
        num_training_steps=total_steps,
    )


def constant(optimizer: Optimizer, total_steps: int, warmup: float) -> LambdaLR:
    """Linear warmup over the share `warmup` of all steps, then constant."""
    return get_constant_schedule_with_warmup(
        optimizer, num_warmup_steps=_warmup_steps(total_steps, warmup)
    )


def _warmup_steps(total_steps: int, warmup: float) -> int:
    if not 0.0 <= warmup < 1.0:
        raise ValueError(f"warmup={warmup} is a share of all steps and must lie in [0, 1)")
    return round(warmup * total_steps)
