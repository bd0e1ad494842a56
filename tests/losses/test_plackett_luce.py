"""Rankings against every order written out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from helpers import record, text_batch

from mmreward.errors import UserError
from mmreward.losses import BradleyTerry
from mmreward.losses.plackett_luce import PlackettLuce, log_chosen_first
from mmreward.model.reward import RewardOutput
from mmreward.records import Record


def by_enumeration(scores: Sequence[float], ranks: Sequence[int]) -> float:
    """−log of the summed probabilities of all orders in which no answer precedes a better one."""
    total = 0.0
    for order in itertools.permutations(range(len(scores))):
        if any(ranks[a] > ranks[b] for a, b in itertools.pairwise(order)):
            continue
        weights = [math.exp(scores[i]) for i in order]
        total += math.prod(w / sum(weights[k:]) for k, w in enumerate(weights))
    return -math.log(total)


def ranking(ranks: Sequence[int], **fields: float) -> Record:
    answers = "abcdefgh"[: len(ranks)]
    return record(str(ranks), answers=tuple(answers), ranks=tuple(ranks), **fields)


def loss(scores: torch.Tensor, *records: Record) -> float:
    return PlackettLuce()(RewardOutput(scores), text_batch(*records)).total.item()


def test_three_answers_by_hand() -> None:
    scores = torch.tensor([0.0, math.log(2.0), math.log(3.0)])
    # Best is the third (3 of 6), then the first (1 of 3).
    assert loss(scores, ranking((1, 2, 0))) == pytest.approx(math.log(6.0), abs=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_equals_the_enumeration_of_all_orders(count: int) -> None:
    """Every pattern of ranks, gaps and ties among them."""
    generator = torch.Generator().manual_seed(count)
    for ranks in itertools.product(range(count), repeat=count):
        if len(set(ranks)) == 1:
            continue
        scores = 2 * torch.randn(count, generator=generator)
        expected = by_enumeration(scores.tolist(), ranks)
        assert loss(scores, ranking(ranks)) == pytest.approx(expected, abs=1e-5), ranks


def test_records_of_all_sizes_in_one_batch_with_their_weights() -> None:
    patterns = [(0, 1), (0, 0, 1), (1, 0, 0, 2), (0, 0), (3, 1, 2, 0), (0, 1, 1, 1)]
    weights = [1.0, 0.5, 2.0, 4.0, 1.0, 0.0]
    scores = torch.randn(sum(map(len, patterns)))
    records = [ranking(p, weight=w) for p, w in zip(patterns, weights, strict=True)]
    expected, first = 0.0, 0
    for ranks, weight in zip(patterns, weights, strict=True):
        own = scores[first : first + len(ranks)].tolist()
        expected += weight * by_enumeration(own, ranks)
        first += len(ranks)
    # The record of ties alone has no ranking and is not part of the mean.
    assert loss(scores, *records) == pytest.approx(expected / 4.5, abs=1e-5)


def test_for_two_answers_it_is_bradley_terry() -> None:
    batch = text_batch(ranking((0, 1)), ranking((1, 0), weight=3.0), ranking((0, 0)))
    output = RewardOutput(torch.tensor([1.0, -1.0, 0.3, 0.9, 2.0, 1.0], requires_grad=True))
    ours = PlackettLuce()(output, batch).total
    theirs = BradleyTerry()(output, batch).total
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    gradients = [torch.autograd.grad(t, output.scores)[0] for t in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("lead", [-12.0, 12.0])
def test_a_clear_pair_is_as_exact_as_bradley_terry(lead: float) -> None:
    expected = math.log1p(math.exp(-lead))
    assert loss(torch.tensor([lead, 0.0]), ranking((0, 1))) == pytest.approx(expected, rel=1e-5)


def test_all_rankings_of_four_have_probability_one_together() -> None:
    scores = torch.randn(4)
    orders = itertools.permutations(range(4))
    assert sum(math.exp(-loss(scores, ranking(o))) for o in orders) == pytest.approx(1, abs=1e-5)


def test_seven_ties_above_another() -> None:
    scores = torch.tensor([0.5, -0.2, 1.1, 0.7, -1.5, 0.0, 2.3, 0.1])
    ranks = [0] * 7 + [1]
    expected = by_enumeration(scores.tolist(), ranks)
    assert loss(scores, ranking(ranks)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("ties", [10, 40, 100])
def test_many_equal_ties_in_closed_form(ties: int) -> None:
    """d answers of score s before one of score 0: d! e^{ds} / Π (1 + k e^s)."""
    for s in (-3.0, 0.0, 3.0):
        expected = math.lgamma(ties + 1) + ties * s
        expected -= sum(math.log1p(k * math.exp(s)) for k in range(1, ties + 1))
        ours = log_chosen_first(torch.full((1, ties), s), torch.zeros(1)).item()
        assert ours == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_the_gradient_through_ties() -> None:
    tied, rest = torch.tensor([[0.3, -0.8, 1.2]]), torch.tensor([0.4])
    tied.requires_grad_()
    log_chosen_first(tied, rest).sum().backward()
    for i in range(3):
        moved = [[*tied.tolist()[0], 0.4] for _ in range(2)]
        moved[0][i] += 1e-5
        moved[1][i] -= 1e-5
        up, down = (-by_enumeration(m, (0, 0, 0, 1)) for m in moved)
        assert tied.grad[0, i].item() == pytest.approx((up - down) / 2e-5, abs=1e-4)


@pytest.mark.parametrize("apart", [-1e4, -30.0, 30.0, 1e4])
def test_ties_at_extremes(apart: float) -> None:
    """Far ahead it is certain, far behind each tied answer costs its distance."""
    tied = torch.full((1, 3), apart, requires_grad=True)
    value = log_chosen_first(tied, torch.zeros(1))
    value.sum().backward()
    # Far behind: 3! orders, in each of which the rest is almost all there is to choose from.
    expected = 3 * apart + math.log(6) if apart < 0 else 0.0
    assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert tied.grad[0].tolist() == pytest.approx([float(apart < 0)] * 3, abs=1e-3)


def test_a_record_that_compares_only_some_answers_is_refused() -> None:
    partial = Record(
        messages=record("x").messages,
        responses=ranking((0, 1, 2, 3)).responses,
        judged=((0, 1), (2, 3)),
        where="pairs.jsonl row 7",
    )
    with pytest.raises(UserError, match=r"pairs.jsonl row 7: only some.*loss=bradley_terry"):
        PlackettLuce().check(8, [ranking((0, 1)), partial])
    with pytest.raises(UserError, match=f"record {partial.id}: only some"):
        loss(torch.zeros(6), ranking((0, 1)), partial)


def test_a_single_judged_pair_is_a_ranking() -> None:
    pair = Record(
        messages=record("x").messages, responses=ranking((0, 1)).responses, judged=((0, 1),)
    )
    PlackettLuce().check(8, [pair])
    assert loss(torch.zeros(2), pair) == pytest.approx(math.log(2.0))
