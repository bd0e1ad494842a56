"""Bradley-Terry with a term that compares every pair with the batch's other pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmreward.data.prefix import PrefixBatch
from mmreward.errors import UserError
from mmreward.losses.base import Loss, LossOutput, weighted_mean
from mmreward.model.reward import RewardOutput
from mmreward.records import Record

FORMS = ("in_batch", "similarity")


class Contrastive(Loss):
    """−log σ(Δ) + weight·C over the pairs of a batch, with a = score / temperature.

    form "in_batch": every chosen answer against its own rejected one and those of all other
        records, the softmax loss with in-batch negatives (InfoNCE, arXiv:1807.03748):

            C = mean_i −log( exp(a_i) / (exp(a_i) + Σ_{j rejected} exp(a_j)) )

        It pulls apart, and makes scores comparable between prompts. Other answers of the same
        record are left out: with K > 2 some of them may be better than i.

    form "similarity": all 2P answers i, with sim(i, j) = exp(a_j − a_i) and as positives the
        *other* answers of the same side (chosen or rejected):

            C = mean_i −log( Σ_{j positive} sim(i, j) / Σ_j sim(i, j) )
              = mean_i [ logsumexp_j(a_j) − logsumexp_{j positive}(a_j) ]

        Know what it is. sim(i, j) is no similarity (it is large where j scores above i) and i
        itself, with sim(i, i) = 1, counts among the negatives. If all P pairs have the same Δ,
        C = log(P / (P−1)) + log(2·cosh(Δ / (2·temperature))): smallest at Δ = 0 and growing with
        |Δ|, whichever side leads. It is a penalty on margins, not a contrast; with the defaults
        the sum has its minimum at Δ = 0.75, where Bradley-Terry alone has none.
        Nor does it hold every pair to that margin. C sees the scores through the logsumexp of
        each side, which the highest ones decide: it is as small when a few pairs tie at the top
        and all others are far apart. Training finds that, and gives those few pairs up.

    A pair's weight multiplies its mean's share as well as its exponentials; a record of ten pairs
    is no larger crowd of negatives than a record of one.

    Raises ValueError for an unknown form, a temperature <= 0 or a weight < 0.
    """

    def __init__(
        self, weight: float = 0.5, temperature: float = 0.5, form: str = "similarity"
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form={form} must be one of {', '.join(FORMS)}")
        if temperature <= 0.0:
            raise ValueError(f"temperature={temperature} must be positive")
        if weight < 0.0:
            raise ValueError(f"weight={weight} must not be negative")
        self.weight = weight
        self.temperature = temperature
        self.form = form

    def check(self, batch_size: int, records: Sequence[Record]) -> None:
        if batch_size > 1:
            return
        if self.form == "in_batch" or all(len(record.pairs) < 2 for record in records):
            raise UserError(
                "loss=contrastive compares the pairs of a batch with one another and would be "
                f"bradley_terry at data.batch_size={batch_size}; use 2 or more, or "
                "loss=bradley_terry (accumulated batches do not see each other)"
            )

    def forward(self, output: RewardOutput, batch: PrefixBatch) -> LossOutput:
        kept = batch.pair_weight > 0
        pairs, weight = batch.pairs[kept], batch.pair_weight[kept]
        scores = output.scores.float()
        chosen, rejected = scores[pairs[:, 0]], scores[pairs[:, 1]]
        preference = weighted_mean(-logsigmoid(chosen - rejected), weight)
        chosen, rejected = chosen / self.temperature, rejected / self.temperature
        if self.form == "similarity":
            contrast = similarity(chosen, rejected, weight)
        else:
            contrast = in_batch(chosen, rejected, weight, batch.answer_record[pairs[:, 0]])
        contrast = self.weight * weighted_mean(contrast, weight)
        return LossOutput(
            preference + contrast, {"bradley_terry": preference, "contrastive": contrast}
        )


def similarity(chosen: Tensor, rejected: Tensor, weight: Tensor) -> Tensor:
    """(P,) mean of the two answers' terms; 0 where a single pair has no positives."""
    if len(chosen) < 2:
        return 0.0 * chosen
    chosen, rejected = chosen + weight.log(), rejected + weight.log()
    everything = torch.logsumexp(torch.cat([chosen, rejected]), 0)
    return everything - (log_sum_of_others(chosen) + log_sum_of_others(rejected)) / 2


def log_sum_of_others(values: Tensor) -> Tensor:
    """(P,) -> (P,): logsumexp over all but the own value."""
    own = torch.eye(len(values), dtype=torch.bool, device=values.device)
    return values.expand(len(values), -1).masked_fill(own, -torch.inf).logsumexp(1)


def in_batch(chosen: Tensor, rejected: Tensor, weight: Tensor, record: Tensor) -> Tensor:
    """(P,) softmax loss of each chosen answer; record: (P,) which record a pair belongs to."""
    # Scaled so that an average record has the mass of one negative.
    mass = weight * len(record.unique()) / weight.sum()
    same = record[:, None] == record[None, :]
    others = (rejected + mass.log()).expand(len(record), -1).masked_fill(same, -torch.inf)
    candidates = torch.cat([chosen[:, None], rejected[:, None], others], dim=1)
    return candidates.logsumexp(1) - chosen
