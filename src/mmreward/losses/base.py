"""What every loss shares: (RewardOutput, PrefixBatch) -> total and named terms.

A loss reads `batch.pairs` (better, worse) with their weights, never positions, and computes in
float32 whatever the scores come in. It is a Module, so that a learned threshold or a running
mean is trained and saved with the model. Every term is a scalar tensor and is logged under its
name; the terms add up to the total.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmreward.data.prefix import PrefixBatch
from mmreward.model.reward import RewardOutput
from mmreward.records import Record


@dataclass
class LossOutput:
    """total: what is minimised, a scalar; terms: its named parts, for the curves."""

    total: Tensor
    terms: dict[str, Tensor]


class Loss(nn.Module):
    """The base of all losses."""

    def check(self, batch_size: int, records: Sequence[Record]) -> None:
        """Raises UserError where this loss cannot do what it is for, before anything is trained.

        batch_size: records a step and device; records: the first of the training split
        """

    def forward(self, output: RewardOutput, batch: PrefixBatch) -> LossOutput:
        raise NotImplementedError


def pair_differences(output: RewardOutput, batch: PrefixBatch) -> Tensor:
    """(P,) float32 Δ = score of the better minus score of the worse answer."""
    scores = output.scores.float()
    return scores[batch.pairs[:, 0]] - scores[batch.pairs[:, 1]]


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Σ w·v / Σ w; a zero that still has a gradient path where the weights are all zero."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))
