"""The adaptive loss by hand, and the running mean that keeps it in size."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import record, text_batch
from torch import nn

from mmreward.losses.adaptive import Adaptive
from mmreward.model.reward import RewardOutput
from mmreward.training.lightning_module import RewardModule

PAIR = text_batch(record("x"))
TWO = text_batch(record("x"), record("y"))


def difficulty(delta: float, beta: float = 0.5, gamma: float = 2.0) -> float:
    return math.exp(-beta * abs(delta)) * (1 - 1 / (1 + math.exp(-delta))) ** gamma


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def scores(*deltas: float) -> RewardOutput:
    return RewardOutput(torch.tensor([s for d in deltas for s in (d, 0.0)]))


def test_first_batch_by_hand() -> None:
    loss = Adaptive(alpha=2.0, beta=0.3, gamma=1.5)
    weights = [difficulty(d, 0.3, 1.5) for d in (1.0, -0.5)]
    mean = sum(weights) / 2
    expected = 2.0 * (weights[0] * softplus(-1.0) + weights[1] * softplus(0.5)) / mean / 2
    assert loss(scores(1.0, -0.5), TWO).total.item() == pytest.approx(expected, abs=1e-6)
    assert loss.running_mean.item() == pytest.approx(mean)


def test_at_batch_one_the_weights_still_differ() -> None:
    """Divided by its own batch's mean, every pair would weigh 1."""
    loss = Adaptive()
    loss(scores(0.0), PAIR)
    easy = loss(scores(3.0), PAIR).total.item()
    mean = (difficulty(0.0) + difficulty(3.0)) / 2
    assert easy == pytest.approx(difficulty(3.0) / mean * softplus(-3.0), abs=1e-6)


def test_the_mean_is_over_all_batches_and_later_a_moving_average() -> None:
    loss = Adaptive(momentum=0.5)
    deltas = [0.0, 1.0, -1.0, 2.0]
    for delta in deltas:
        loss(scores(delta), PAIR)
    u = [difficulty(d) for d in deltas]
    assert loss.running_mean.item() == pytest.approx((((u[0] + u[1]) / 2 + u[2]) / 2 + u[3]) / 2)
    slow = Adaptive(momentum=0.99)
    for delta in deltas:
        slow(scores(delta), PAIR)
    assert slow.running_mean.item() == pytest.approx(sum(u) / 4)


def test_the_weights_carry_no_gradient() -> None:
    output = scores(0.8, -0.4)
    output.scores.requires_grad_()
    Adaptive()(output, TWO).total.backward()
    weights = [difficulty(d) for d in (0.8, -0.4)]
    mean = sum(weights) / 2
    for pair, delta in enumerate((0.8, -0.4)):
        slope = -weights[pair] / mean / (1 + math.exp(delta)) / 2
        assert output.scores.grad[2 * pair].item() == pytest.approx(slope, abs=1e-6)


def test_without_beta_and_gamma_it_is_bradley_terry() -> None:
    loss = Adaptive(beta=0.0, gamma=0.0)
    expected = (softplus(-1.0) + softplus(2.0)) / 2
    assert loss(scores(1.0, -2.0), TWO).total.item() == pytest.approx(expected, abs=1e-6)


def test_the_heaviest_pair_is_where_the_docstring_says() -> None:
    grid = [d / 100 for d in range(-400, 401)]
    assert max(grid, key=difficulty) == pytest.approx(math.log(0.25 / 0.75), abs=0.01)


def test_a_hard_pair_after_easy_ones_weighs_at_most_what_the_momentum_allows() -> None:
    loss = Adaptive(momentum=0.9)
    for _ in range(50):
        loss(scores(40.0), PAIR)
    total = loss(scores(0.0), PAIR).total.item()
    assert total == pytest.approx(10 * math.log(2.0), rel=1e-3)


def test_nothing_left_to_learn_is_not_a_division_by_zero() -> None:
    loss = Adaptive()
    output = scores(1e4, -1e4)
    output.scores.requires_grad_()
    total = loss(output, TWO).total
    total.backward()
    assert total.item() == 0.0 and not output.scores.grad.any()
    # The mean of nothing and this one is half of it.
    assert loss(scores(0.0), PAIR).total.item() == pytest.approx(2 * math.log(2.0))


def test_evaluation_and_batches_without_pairs_leave_the_mean_alone() -> None:
    loss = Adaptive()
    loss.eval()
    assert loss(scores(1.0), PAIR).total.item() == pytest.approx(softplus(-1.0), abs=1e-6)
    assert loss.batches == 0
    loss.train()
    loss(scores(1.0), PAIR)
    before = loss.running_mean.item()
    loss(scores(0.0), text_batch(record("x", ranks=(0, 0))))
    loss(scores(0.0), text_batch(record("x", weight=0.0)))
    loss.eval()
    evaluated = loss(scores(0.0), PAIR).total.item()
    assert loss.running_mean.item() == before and loss.batches == 1
    assert evaluated == pytest.approx(difficulty(0.0) / difficulty(1.0) * math.log(2), abs=1e-5)


def test_a_checkpoint_holds_the_mean() -> None:
    def module() -> RewardModule:
        return RewardModule(nn.Linear(1, 1), Adaptive(), lambda p: None, lambda o: None, {})

    ours, theirs = module(), module()
    ours.loss(scores(1.0, -0.5), TWO)
    checkpoint = {"state_dict": ours.state_dict()}
    ours.on_save_checkpoint(checkpoint)
    theirs.load_state_dict(checkpoint["state_dict"], strict=False)
    assert theirs.loss.batches == 1
    assert theirs.loss.running_mean == ours.loss.running_mean > 0


@pytest.mark.parametrize(
    "wrong", [{"alpha": -1.0}, {"beta": -1.0}, {"gamma": -1.0}, {"momentum": 1.0}]
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Adaptive(**wrong)
