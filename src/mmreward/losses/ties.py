"""Preferences in which two answers may be equally good."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from mmreward.data.prefix import PrefixBatch
from mmreward.losses.base import Loss, LossOutput, pair_differences
from mmreward.model.reward import RewardOutput


class Ties(Loss):
    """−log P(verdict) under Rao and Kupper (1967), with a threshold η > 0:

        P(better) = σ(Δ − η)    P(worse) = σ(−Δ − η)    P(tie) = 1 − P(better) − P(worse)
                                                               = (e^{2η} − 1)·P(better)·P(worse)

    A lead within the threshold is likely to be called a tie; η → 0 is Bradley-Terry, which has no
    use for `batch.ties`. A record's weight is shared evenly among its comparisons, ties and pairs.

    threshold: η, or where it starts if `learned` (kept positive as softplus of the parameter).
               Data without ties draws a learned threshold towards 0.

    Raises ValueError for a threshold <= 0, under which no tie is possible.
    """

    def __init__(self, threshold: float = 0.5, learned: bool = True) -> None:
        super().__init__()
        if threshold <= 0.0:
            raise ValueError(f"threshold={threshold} must be positive, or no tie is possible")
        # One element and not a scalar: FSDP cannot shard the latter.
        raw = torch.tensor([threshold + math.log(-math.expm1(-threshold))])
        self.raw_threshold = nn.Parameter(raw, requires_grad=learned)

    @property
    def threshold(self) -> Tensor:
        """(1,) η."""
        return softplus(self.raw_threshold.float())

    def forward(self, output: RewardOutput, batch: PrefixBatch) -> LossOutput:
        eta = self.threshold
        scores = output.scores.float()
        lead = scores[batch.ties[:, 0]] - scores[batch.ties[:, 1]]
        preference = -logsigmoid(pair_differences(output, batch) - eta)
        tie = -(log_expm1(2 * eta) + logsigmoid(lead - eta) + logsigmoid(-lead - eta))
        pair_weight, tie_weight = comparison_weights(batch)
        total = pair_weight.sum() + tie_weight.sum()
        total = torch.where(total > 0, total, torch.ones_like(total))
        terms = {
            "preference": (preference * pair_weight).sum() / total,
            "tie": (tie * tie_weight).sum() / total,
        }
        return LossOutput(terms["preference"] + terms["tie"], terms)


def log_expm1(x: Tensor) -> Tensor:
    """log(eˣ − 1) for x > 0, where eˣ may overflow."""
    return x + torch.log(-torch.expm1(-x))


def comparison_weights(batch: PrefixBatch) -> tuple[Tensor, Tensor]:
    """(P,) and (Q,): each record's weight over its pairs and ties together."""
    pair_record = batch.answer_record[batch.pairs[:, 0]]
    tie_record = batch.answer_record[batch.ties[:, 0]]
    records = len(batch.record_ids)
    pairs = torch.bincount(pair_record, minlength=records)
    ties = torch.bincount(tie_record, minlength=records)
    comparisons = pairs + ties
    pair_share = (pairs / comparisons)[pair_record]
    return batch.pair_weight * pair_share, (batch.record_weight / comparisons)[tie_record]
