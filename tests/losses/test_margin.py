"""Both margin losses against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from helpers import record, text_batch

from mmreward.errors import UserError
from mmreward.losses.margin import Margin
from mmreward.model.reward import RewardOutput

PAIR = record("x")
GRADED = replace(
    record("y", answers=("a", "b", "c"), ranks=(0, 1, 1)),
    responses=tuple(
        replace(r, score=s)
        for r, s in zip(
            record("y", answers=("a", "b", "c"), ranks=(0, 1, 1)).responses,
            (4.0, 3.0, 1.5),
            strict=True,
        )
    ),
)
# Differences 2.0 (weight 1, no margin), 0.5 and -1.5 (weight 1/2, margins 1.0 and 2.5).
SCORES = torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0])


def test_hinge_by_hand() -> None:
    total = Margin(0.75)(RewardOutput(SCORES), text_batch(PAIR, GRADED)).total
    assert total.item() == pytest.approx((1.0 * 0.0 + 0.5 * 0.25 + 0.5 * 2.25) / 2)


def test_bradley_terry_with_the_pairs_margin_by_hand() -> None:
    loss = Margin(form="bradley_terry")
    total = loss(RewardOutput(SCORES), text_batch(PAIR, GRADED)).total

    def term(lead: float) -> float:
        return math.log1p(math.exp(-lead))

    expected = (term(2.0) + 0.5 * term(0.5 - 1.0) + 0.5 * term(-1.5 - 2.5)) / 2
    assert total.item() == pytest.approx(expected, abs=1e-6)


def test_a_pair_beyond_the_margin_is_left_alone() -> None:
    scores = torch.tensor([0.6, 0.0, 0.4, 0.0], requires_grad=True)
    batch = text_batch(record("x"), record("y"))
    Margin(0.5)(RewardOutput(scores), batch).total.backward()
    assert scores.grad.tolist() == [0.0, 0.0, -0.5, 0.5]


def test_data_without_scores_has_no_margins_to_use() -> None:
    with pytest.raises(UserError, match="no scores; use loss.form=hinge"):
        Margin(form="bradley_terry").check(8, [PAIR])
    Margin(form="bradley_terry").check(8, [PAIR, GRADED])
    Margin().check(8, [PAIR])


@pytest.mark.parametrize("wrong", [{"form": "huber"}, {"margin": 0.0}])
def test_values_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Margin(**wrong)
