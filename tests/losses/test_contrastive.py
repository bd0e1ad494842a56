"""The contrastive term: the original formula, what it really does, and the in-batch form."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import record, text_batch

from mmreward.data.prefix import PrefixBatch
from mmreward.errors import UserError
from mmreward.losses.contrastive import Contrastive
from mmreward.model.reward import RewardOutput


def pairs(count: int) -> PrefixBatch:
    return text_batch(*(record(f"question {number}") for number in range(count)))


def term(loss: Contrastive, scores: torch.Tensor, batch: PrefixBatch) -> float:
    """C itself, without its weight."""
    return loss(RewardOutput(scores), batch).terms["contrastive"].item() / loss.weight


def as_written(chosen: list[float], rejected: list[float], temperature: float) -> float:
    """C with its exponentials and quotients as they stand, in double precision."""
    scores = [s / temperature for s in chosen + rejected]
    side = [1] * len(chosen) + [0] * len(rejected)
    everyone = range(len(scores))
    losses = []
    for i in everyone:
        similar = [math.exp(scores[j] - scores[i]) for j in everyone]
        positive = sum(similar[j] for j in everyone if side[j] == side[i] and j != i)
        negative = sum(similar[j] for j in everyone if side[j] != side[i] or j == i) + 1e-8
        losses.append(-math.log(positive / (positive + negative)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("count", [2, 3, 8, 32])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_equals_the_formula_as_written(count: int, temperature: float) -> None:
    scores = 2.0 * torch.randn(2 * count)
    expected = as_written(scores[::2].tolist(), scores[1::2].tolist(), temperature)
    loss = Contrastive(temperature=temperature, form="similarity")
    assert term(loss, scores, pairs(count)) == pytest.approx(expected, abs=1e-5)


def test_total_by_hand() -> None:
    """Two pairs, chosen 1 and 0, rejected 0 and 0, temperature 1."""
    out = Contrastive(weight=0.5, temperature=1.0, form="similarity")(
        RewardOutput(torch.tensor([1.0, 0.0, 0.0, 0.0])), pairs(2)
    )
    preference = (math.log1p(math.exp(-1.0)) + math.log(2.0)) / 2
    # The only other chosen answer of the first is at 0, of the second at 1; the rejected ones
    # have each other at 0.
    contrast = math.log(math.e + 3.0) - (0.0 + 1.0 + 0.0 + 0.0) / 4
    assert out.terms["bradley_terry"].item() == pytest.approx(preference, abs=1e-6)
    assert out.terms["contrastive"].item() == pytest.approx(0.5 * contrast, abs=1e-6)


def test_weights_multiply_the_exponentials_and_the_mean() -> None:
    """Three pairs of weight 1, 2 and 3, temperature 1."""
    chosen, rejected, weights = (0.3, -0.5, 1.0), (0.0, 0.4, -1.2), (1.0, 2.0, 3.0)
    batch = text_batch(*(record(f"question {w}", weight=w) for w in weights))
    everything = sum(
        w * math.exp(s) for side in (chosen, rejected) for w, s in zip(weights, side, strict=True)
    )
    expected = 0.0
    for side in (chosen, rejected):
        sizes = [w * math.exp(s) for w, s in zip(weights, side, strict=True)]
        for weight, own in zip(weights, sizes, strict=True):
            expected += weight / 12 * -math.log((sum(sizes) - own) / everything)
    scores = torch.tensor([s for pair in zip(chosen, rejected, strict=True) for s in pair])
    assert term(Contrastive(temperature=1.0, form="similarity"), scores, batch) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("delta", [-6.0, -0.5, 0.0, 1.0, 4.0])
def test_with_equal_margins_it_is_a_penalty_on_them(count: int, delta: float) -> None:
    scores = torch.tensor([delta, 0.0] * count)
    expected = math.log(count / (count - 1)) + math.log(2 * math.cosh(delta / (2 * 0.5)))
    assert term(Contrastive(form="similarity"), scores, pairs(count)) == pytest.approx(
        expected, abs=1e-5
    )


def test_with_the_defaults_the_loss_comes_to_rest_at_a_margin_of_three_quarters() -> None:
    delta = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([delta], lr=1.0)
    batch = pairs(4)
    for _ in range(100):
        optimizer.zero_grad()
        scores = torch.stack([delta, torch.zeros(())]).repeat(4)
        Contrastive(form="similarity")(RewardOutput(scores), batch).total.backward()
        optimizer.step()
    assert delta.item() == pytest.approx(0.75, abs=0.01)


def test_the_penalty_is_escaped_by_a_few_pairs_tied_at_the_top() -> None:
    """Half of the pairs at lead 4 cost next to nothing once the other half ties above them."""
    similarity = Contrastive(form="similarity")
    all_apart = term(similarity, torch.tensor([0.0, -4.0] * 4), pairs(4))
    all_tied = term(similarity, torch.zeros(8), pairs(4))
    half = term(similarity, torch.tensor([5.0, 5.0] * 2 + [0.0, -4.0] * 2), pairs(4))
    assert half - all_tied < 0.1 < 3.0 < all_apart - all_tied


def test_in_batch_by_hand() -> None:
    scores = torch.tensor([1.0, 0.5, -1.0, 2.0, 0.0, -0.5])
    loss = Contrastive(temperature=2.0, form="in_batch")
    rejected = sum(math.exp(r / 2) for r in (0.5, 2.0, -0.5))
    expected = sum(
        -math.log(math.exp(c / 2) / (math.exp(c / 2) + rejected)) for c in (1.0, -1.0, 0.0)
    )
    assert term(loss, scores, pairs(3)) == pytest.approx(expected / 3, abs=1e-5)


def test_in_batch_pulls_apart_without_end() -> None:
    losses = [
        term(Contrastive(form="in_batch"), torch.tensor([d, 0.0] * 4), pairs(4))
        for d in (-2.0, 0.0, 2.0, 8.0)
    ]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 1e-5


def test_in_batch_never_holds_a_better_answer_of_the_record_against_a_worse_one() -> None:
    """a > b > c: pairs ab, ac, bc. For b the rejected b of the first pair is no negative."""
    batch = text_batch(record("x", answers=("a", "b", "c")))
    scores = torch.tensor([3.0, 1.0, 0.5])
    own = sum(math.log1p(math.exp(-d / 0.5)) for d in (2.0, 2.5, 0.5)) / 3
    assert term(Contrastive(form="in_batch"), scores, batch) == pytest.approx(own, abs=1e-6)


def test_in_batch_a_record_of_many_pairs_is_one_crowd() -> None:
    """Answers copied into three tied ones: three pairs, the mass of one."""
    one = text_batch(record("x"), record("y"))
    many = text_batch(record("x"), record("y", answers=("a", "b", "b", "b"), ranks=(0, 1, 1, 1)))
    loss = Contrastive(form="in_batch")
    ours = term(loss, torch.tensor([1.0, 0.0, 0.7, -0.2]), one)
    theirs = term(loss, torch.tensor([1.0, 0.0, 0.7, -0.2, -0.2, -0.2]), many)
    assert theirs == pytest.approx(ours, abs=1e-6)


@pytest.mark.parametrize("form", ["similarity", "in_batch"])
def test_a_batch_of_one_pair_is_refused(form: str) -> None:
    with pytest.raises(UserError, match="data.batch_size=1"):
        Contrastive(form=form).check(1, [record("x")] * 8)
    Contrastive(form=form).check(2, [record("x")] * 8)


def test_one_record_of_several_pairs_is_enough_for_similarity_alone() -> None:
    ranking = [record("x", answers=("a", "b", "c"))]
    Contrastive(form="similarity").check(1, ranking)
    with pytest.raises(UserError, match="data.batch_size=1"):
        Contrastive(form="in_batch").check(1, ranking)


def test_a_single_pair_in_the_last_batch_is_bradley_terry() -> None:
    out = Contrastive(form="similarity")(RewardOutput(torch.tensor([1.0, 0.0])), pairs(1))
    assert out.total.item() == pytest.approx(math.log1p(math.exp(-1.0)), abs=1e-6)


@pytest.mark.parametrize("wrong", [{"form": "seed"}, {"temperature": 0.0}, {"weight": -1.0}])
def test_values_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Contrastive(**wrong)
