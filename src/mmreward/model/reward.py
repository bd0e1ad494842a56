"""The scalar reward model: head(pooling(backbone(batch)))."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmreward.data.prefix import PrefixBatch
from mmreward.model.backbone import Backbone


@dataclass
class RewardOutput:
    """What losses and scoring read. scores: (N,) float32, one per answer, higher is better."""

    scores: Tensor


class RewardModel(nn.Module):
    """Scores every answer of a PrefixBatch.

    pooling: called with the backbone's hidden size and number of layers to be finished
    head:    called with its hidden size (`_partial_` in conf/)
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: Callable[[int, int], nn.Module],
        head: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling(backbone.hidden_size, backbone.num_layers)
        self.head = head(backbone.hidden_size)

    def forward(self, batch: PrefixBatch) -> RewardOutput:
        states = self.backbone(batch, self.pooling.layers)
        pooled = self.pooling(states, batch)
        # Half precision has three significant digits: differences of scores near 10 would be
        # rounded to multiples of 1/128 and the loss would see ties that are none.
        with torch.autocast(pooled.device.type, enabled=False):
            return RewardOutput(self.head(pooled.float()))
