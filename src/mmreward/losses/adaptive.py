"""Bradley-Terry that spends its gradient on the pairs still to be learned."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmreward.data.prefix import PrefixBatch
from mmreward.losses.base import Loss, LossOutput, pair_differences, weighted_mean
from mmreward.model.reward import RewardOutput

# A mean weight below this (every pair right by 11, say) counts as this: nothing is left to learn.
SMALLEST = 1e-12


class Adaptive(Loss):
    """α·u/ū·(−log σ(Δ)) with u = exp(−β·|Δ|)·(1 − σ(Δ))^γ, detached.

    The second factor is the focal loss' (Lin et al., arXiv:1708.02002): pairs already right
    weigh little. The first takes weight from both ends: pairs far on the wrong side, mislabelled
    ones perhaps, weigh little as well. u is largest where σ(Δ) = β/γ, with the defaults at
    Δ = −1.1.

    ū is the running mean of u, so that the loss keeps its size while u shrinks; a mean over the
    batch alone would cancel u at batch 1. It is the mean of all training batches so far until
    there are 1/(1 − momentum) of them and an exponential moving average from then on; the current
    batch is part of it, so its weights average at most 1/(1 − momentum). Evaluation reads it and
    leaves it as it is.

    Raises ValueError for negative α, β, γ and a momentum outside [0, 1).
    """

    running_mean: Tensor
    batches: Tensor

    def __init__(
        self, alpha: float = 1.0, beta: float = 0.5, gamma: float = 2.0, momentum: float = 0.99
    ) -> None:
        super().__init__()
        for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
            if value < 0.0:
                raise ValueError(f"{name}={value} must not be negative")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum={momentum} must lie in [0, 1)")
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, output: RewardOutput, batch: PrefixBatch) -> LossOutput:
        delta = pair_differences(output, batch)
        with torch.no_grad():
            weights = torch.exp(-self.beta * delta.abs() + self.gamma * logsigmoid(-delta))
            weights = weights / self._mean(weights, batch.pair_weight).clamp(min=SMALLEST)
        total = self.alpha * weighted_mean(-weights * logsigmoid(delta), batch.pair_weight)
        return LossOutput(total, {"adaptive": total})

    def _mean(self, weights: Tensor, pair_weight: Tensor) -> Tensor:
        current = weighted_mean(weights, pair_weight)
        if self.training and pair_weight.any():
            self.batches += 1
            rate = (1.0 / self.batches).clamp(min=1.0 - self.momentum)
            self.running_mean += rate * (current - self.running_mean)
        return self.running_mean if self.batches > 0 else current
