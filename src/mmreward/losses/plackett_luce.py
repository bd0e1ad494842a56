"""The likelihood of whole rankings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmreward.data.prefix import PrefixBatch
from mmreward.errors import UserError
from mmreward.losses.base import Loss, LossOutput, weighted_mean
from mmreward.model.reward import RewardOutput
from mmreward.records import Record

# Of the integral over tied orders.
STEP = 0.1


class PlackettLuce(Loss):
    """−log P(ranking): the answers are chosen one after another, best first, each by a softmax
    over those left (Luce 1959, Plackett 1975). For K = 2 it is Bradley-Terry.

    Ties: P is the sum over all orders that agree with the ranks, exact for any number of ties by
    the integral that survival analysis has for tied event times (DeLong, Guirguis and So, 1994).
    It differs from the mean over those orders by a constant. Answers tied for last say nothing
    about each other.

    The mean runs over records with their weights. K answers are up to K − 1 choices, so a long
    ranking has a larger loss than a pair.

    A record that judges only some of its answers has no ranking and is refused with a UserError.
    """

    def check(self, batch_size: int, records: Sequence[Record]) -> None:
        for record in records:
            ranks = [response.rank for response in record.responses]
            k = range(len(ranks))
            ordered = {(i, j) for i in k for j in k if ranks[i] < ranks[j]}
            if ordered != {(pair.better, pair.worse) for pair in record.pairs}:
                raise _no_ranking(record.name)

    def forward(self, output: RewardOutput, batch: PrefixBatch) -> LossOutput:
        scores = output.scores.float()
        record, rank = batch.answer_record, batch.answer_rank
        ordered = (record[:, None] == record) & (rank[:, None] < rank)
        _refuse_partial(ordered, batch)

        groups, member = torch.stack([record, rank]).unique(dim=1, return_inverse=True)
        sizes = torch.bincount(member)
        # Some answer of each group; all of a group have the same answers below them.
        leader = torch.empty_like(sizes).scatter(
            0, member, torch.arange(len(rank), device=rank.device)
        )
        below = ordered[leader]
        total = scores.new_zeros(len(batch.record_ids))
        for size in sizes.unique().tolist():
            here = ((sizes == size) & below.any(1)).nonzero().squeeze(1)
            tied = scores[(member == here[:, None]).nonzero()[:, 1].reshape(-1, size)]
            rest = scores.expand(len(here), -1).masked_fill(~below[here], -torch.inf).logsumexp(1)
            total = total.index_add(0, groups[0, here], log_chosen_first(tied, rest))
        # Ties alone rank nothing; as in every loss on pairs they are no part of the mean.
        ranked = torch.zeros_like(total).index_fill(0, record[ordered.any(1)], 1.0)
        loss = weighted_mean(-total, batch.record_weight * ranked)
        return LossOutput(loss, {"plackett_luce": loss})


def log_chosen_first(tied: Tensor, rest: Tensor) -> Tensor:
    """(G,) log-probability that all tied answers are chosen before the rest, in whatever order.

    tied: (G, d) scores s; rest: (G,) logsumexp r of the scores below them

    The choices are a race: an answer arrives after a time drawn from Exp(e^s), the first of the
    rest after one from Exp(e^r), whose logarithm is z − r with density e^(z − e^z). So the
    probability is ∫ Π_i (1 − exp(−e^(z + s_i − r))) e^(z − e^z) dz, one integral instead of a sum
    over d! orders. The integrand is smooth and vanishes on both sides; equal steps give it to the
    accuracy of float32 up to a hundred ties.
    """
    if tied.shape[1] == 1:
        return logsigmoid(tied[:, 0] - rest)
    z = torch.arange(-20.0, 7.0, STEP, device=tied.device)
    arrived = log_arrived((tied - rest[:, None])[..., None] + z).sum(1)
    return (arrived + z - z.exp()).logsumexp(1) + math.log(STEP)


def log_arrived(x: Tensor) -> Tensor:
    """log(1 − exp(−eˣ)), with a finite value and gradient for every x."""
    small, other = x.clamp(max=-10.0), x.clamp(-10.0, 10.0)
    return torch.where(x < -10.0, small - small.exp() / 2, torch.log(-torch.expm1(-other.exp())))


def _refuse_partial(ordered: Tensor, batch: PrefixBatch) -> None:
    """UserError unless the batch's pairs are exactly those its ranks imply, (N, N) `ordered`."""
    judged = torch.zeros_like(ordered)
    judged[batch.pairs[:, 0], batch.pairs[:, 1]] = True
    wrong = (judged != ordered).any(1).nonzero()
    if len(wrong):
        first = int(batch.answer_record[wrong[0, 0]])
        raise _no_ranking(f"record {batch.record_ids[first]}")


def _no_ranking(where: str) -> UserError:
    return UserError(
        f"{where}: only some of its answers were compared, and loss=plackett_luce needs a ranking "
        "of all of them; use loss=bradley_terry, which takes the pairs as they are"
    )
