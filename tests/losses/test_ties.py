"""Rao-Kupper against its formulas in their original form."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import record, text_batch

from mmreward.losses import BradleyTerry
from mmreward.losses.ties import Ties
from mmreward.model.reward import RewardOutput

BETTER = text_batch(record("x", ranks=(0, 1)))
WORSE = text_batch(record("x", ranks=(1, 0)))
TIE = text_batch(record("x", ranks=(0, 0)))


def cost(delta: float, eta: float, batch) -> float:
    output = RewardOutput(torch.tensor([delta, 0.0]))
    return Ties(eta)(output, batch).total.item()


@pytest.mark.parametrize("eta", [0.01, 0.5, 2.0, 60.0])
@pytest.mark.parametrize("delta", [-8.0, -0.7, 0.0, 1.0, 5.0])
def test_the_three_verdicts_have_probability_one_together(delta: float, eta: float) -> None:
    assert sum(math.exp(-cost(delta, eta, b)) for b in (BETTER, WORSE, TIE)) == pytest.approx(
        1.0, abs=1e-5
    )


@pytest.mark.parametrize("delta", [-2.0, 0.0, 0.6])
def test_in_strengths_as_rao_and_kupper_wrote_it(delta: float) -> None:
    """Strengths π = exp(score), θ = exp(η)."""
    first, second, theta = math.exp(delta), 1.0, math.exp(0.8)
    better = first / (first + theta * second)
    tie = (theta**2 - 1) * first * second / (first + theta * second) / (second + theta * first)
    assert math.exp(-cost(delta, 0.8, BETTER)) == pytest.approx(better, abs=1e-6)
    assert math.exp(-cost(delta, 0.8, TIE)) == pytest.approx(tie, abs=1e-6)


def test_a_small_threshold_is_bradley_terry() -> None:
    batch = text_batch(record("x", answers=("a", "b", "c"), ranks=(2, 0, 1)), record("y"))
    output = RewardOutput(torch.tensor([0.3, 1.0, -0.4, 0.2, 0.9]))
    ours = Ties(1e-6)(output, batch).total.item()
    assert ours == pytest.approx(BradleyTerry()(output, batch).total.item(), abs=1e-5)


def test_a_records_weight_is_shared_by_pairs_and_ties() -> None:
    """Ranks 0, 1, 1: two pairs and a tie, a third of the weight 2 each; a pair of weight 1."""
    batch = text_batch(
        record("x", answers=("a", "b", "c"), ranks=(0, 1, 1), weight=2.0), record("y")
    )
    out = Ties(0.5)(RewardOutput(torch.tensor([1.0, 0.0, 0.4, 0.0, 0.0])), batch)
    pairs = [cost(d, 0.5, BETTER) for d in (1.0, 0.6)]
    tie = cost(-0.4, 0.5, TIE)
    expected = (2 / 3 * (sum(pairs) + tie) + cost(0.0, 0.5, BETTER)) / 3
    assert out.total.item() == pytest.approx(expected, abs=1e-6)
    assert out.terms["tie"].item() == pytest.approx(2 / 3 * tie / 3, abs=1e-6)


def test_equal_answers_are_drawn_together() -> None:
    scores = torch.tensor([2.0, 0.0], requires_grad=True)
    Ties()(RewardOutput(scores), TIE).total.backward()
    assert scores.grad[0] > 0 > scores.grad[1]
    assert cost(0.0, 0.5, TIE) < cost(0.5, 0.5, TIE) < cost(1.0, 0.5, TIE)


def test_the_threshold_learns_the_share_of_ties() -> None:
    """At equal scores P(tie) = 1 − 2σ(−η); for a share of 1/4 that is η = log(5/3)."""
    batch = text_batch(
        record("a", ranks=(0, 0)), *(record(text, ranks=(0, 1)) for text in ("b", "c", "d"))
    )
    loss = Ties(2.0)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss(RewardOutput(torch.zeros(8)), batch).total.backward()
        optimizer.step()
    assert loss.threshold.item() == pytest.approx(math.log(5 / 3), abs=0.01)


def test_a_fixed_threshold_is_not_trained() -> None:
    assert [p.requires_grad for p in Ties(0.3, learned=False).parameters()] == [False]
    assert Ties(0.3, learned=False).threshold.item() == pytest.approx(0.3)


@pytest.mark.parametrize("threshold", [0.0, -1.0])
def test_a_threshold_that_allows_no_tie_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Ties(threshold)
