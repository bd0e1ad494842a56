"""Bradley-Terry, the loss most reward models are trained with."""

from __future__ import annotations

from torch.nn.functional import logsigmoid

from mmreward.data.prefix import PrefixBatch
from mmreward.losses.base import Loss, LossOutput, pair_differences, weighted_mean
from mmreward.model.reward import RewardOutput


class BradleyTerry(Loss):
    """−log σ(Δ), the likelihood of the preferences under Bradley and Terry (1952).

    label_smoothing ε: (1−ε)·(−log σ(Δ)) − ε·log σ(−Δ), for labels wrong with probability ε
    centring c:        adds c·mean(score²) over all answers; differences alone leave the scores
                       free to drift together (Eisenstein et al., arXiv:2312.09244)
    """

    def __init__(self, label_smoothing: float = 0.0, centring: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 0.5:
            raise ValueError(f"label_smoothing={label_smoothing} must lie in [0, 0.5)")
        if centring < 0.0:
            raise ValueError(f"centring={centring} must not be negative")
        self.label_smoothing = label_smoothing
        self.centring = centring

    def forward(self, output: RewardOutput, batch: PrefixBatch) -> LossOutput:
        delta = pair_differences(output, batch)
        per_pair = -(1 - self.label_smoothing) * logsigmoid(delta)
        if self.label_smoothing:
            per_pair = per_pair - self.label_smoothing * logsigmoid(-delta)
        total = weighted_mean(per_pair, batch.pair_weight)
        terms = {"bradley_terry": total}
        if self.centring:
            terms["centring"] = self.centring * output.scores.float().square().mean()
            total = total + terms["centring"]
        return LossOutput(total, terms)
