"""Heads: one vector per answer -> one score per answer. (N, H) -> (N,), always in float32.

Every head is built with the hidden size H of the backbone; weights start at N(0, 0.02), biases
at zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

INIT_STD = 0.02


def init_linear(module: nn.Module) -> None:
    """N(0, 0.02) weights and zero biases, the initialisation of the backbones themselves."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, mean=0.0, std=INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Linear(nn.Module):
    """One linear layer to a scalar."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden_size, 1)
        self.apply(init_linear)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.score(pooled).squeeze(-1)


class Enhanced(nn.Module):
    """Linear(H, H/2), GELU, dropout, Linear(H/2, 1)."""

    def __init__(self, hidden_size: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(hidden_size, hidden_size // 2),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_size // 2, 1),
        )
        self.apply(init_linear)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.score(pooled).squeeze(-1)


class Adaptive(nn.Module):
    """Linear(H, H), tanh, Linear(H, H/2), tanh, Linear(H/2, 1)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(hidden_size, hidden_size),
            nn.Tanh(),
            nn.Linear(hidden_size, hidden_size // 2),
            nn.Tanh(),
            nn.Linear(hidden_size // 2, 1),
        )
        self.apply(init_linear)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.score(pooled).squeeze(-1)


class BoundedMLP(nn.Module):
    """Linear(H, H), GELU, Linear(H, 1), kept within score_min ... score_max.

    With midpoint m and half-range h the score is m + h·tanh(x / h): an unbounded x near 0 is
    passed on as it is (slope 1), and unlike after clamping no x is without a gradient until
    float32 runs out of digits, near |x| = 9·h.

    Raises ValueError unless score_min < score_max.
    """

    def __init__(self, hidden_size: int, score_min: float = -5.0, score_max: float = 5.0) -> None:
        super().__init__()
        if not score_min < score_max:
            raise ValueError(f"score_min={score_min} must be smaller than score_max={score_max}")
        self.midpoint = (score_min + score_max) / 2
        self.half_range = (score_max - score_min) / 2
        self.score = nn.Sequential(
            nn.Linear(hidden_size, hidden_size),
            nn.GELU(),
            nn.Linear(hidden_size, 1),
        )
        self.apply(init_linear)

    def forward(self, pooled: Tensor) -> Tensor:
        raw = self.score(pooled).squeeze(-1)
        return self.midpoint + self.half_range * torch.tanh(raw / self.half_range)
