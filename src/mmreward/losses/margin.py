"""Losses that ask for more than the right order: a margin."""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn.functional import logsigmoid, relu

from mmreward.data.prefix import PrefixBatch
from mmreward.errors import UserError
from mmreward.losses.base import Loss, LossOutput, pair_differences, weighted_mean
from mmreward.model.reward import RewardOutput
from mmreward.records import Record

FORMS = ("hinge", "bradley_terry")


class Margin(Loss):
    """The better answer must lead by a margin.

    form "hinge":         max(0, margin − Δ), the ranking hinge of RankSVM (Joachims, 2002). A pair
                          beyond the margin gives no gradient at all.
    form "bradley_terry": −log σ(Δ − pair_margin), as in Llama 2 (arXiv:2307.09288); the margin is
                          the data's own, the difference of the two answers' scores.
    """

    def __init__(self, margin: float = 0.5, form: str = "hinge") -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form={form} must be one of {', '.join(FORMS)}")
        if margin <= 0.0:
            raise ValueError(f"margin={margin} must be positive, or equal scores cost nothing")
        self.margin = margin
        self.form = form

    def check(self, batch_size: int, records: Sequence[Record]) -> None:
        if self.form == "bradley_terry" and not any(p.margin for r in records for p in r.pairs):
            raise UserError(
                "loss.form=bradley_terry takes each pair's margin from the data, and the answers "
                f"of its first {len(records)} records have no scores; use loss.form=hinge"
            )

    def forward(self, output: RewardOutput, batch: PrefixBatch) -> LossOutput:
        delta = pair_differences(output, batch)
        if self.form == "hinge":
            per_pair = relu(self.margin - delta)
        else:
            per_pair = -logsigmoid(delta - batch.pair_margin)
        total = weighted_mean(per_pair, batch.pair_weight)
        return LossOutput(total, {"margin": total})
