"""Bradley-Terry against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import record, text_batch

from mmreward.losses import BradleyTerry
from mmreward.model.reward import RewardOutput

# A pair, a three-way ranking with a tie (2 pairs), a record of ties alone.
BATCH = text_batch(
    record("x"),
    record("y", answers=("a", "b", "c"), ranks=(0, 1, 1)),
    record("z", answers=("a", "b"), ranks=(0, 0)),
)
SCORES = torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0, 3.0, 1.0])
# Differences 2.0 (weight 1), 0.5 and -1.5 (weight 1/2 each); total weight 2.
DELTAS = {2.0: 1.0, 0.5: 0.5, -1.5: 0.5}


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_bradley_terry_by_hand() -> None:
    expected = sum(w * softplus(-d) for d, w in DELTAS.items()) / 2
    out = BradleyTerry()(RewardOutput(SCORES), BATCH)
    assert out.total.item() == pytest.approx(expected, abs=1e-6)


def test_label_smoothing_by_hand() -> None:
    expected = sum(w * (0.9 * softplus(-d) + 0.1 * softplus(d)) for d, w in DELTAS.items()) / 2
    out = BradleyTerry(label_smoothing=0.1)(RewardOutput(SCORES), BATCH)
    assert out.total.item() == pytest.approx(expected, abs=1e-6)


def test_centring_by_hand() -> None:
    out = BradleyTerry(centring=0.01)(RewardOutput(SCORES), BATCH)
    # (1 + 1 + 0.25 + 0 + 4 + 9 + 1) / 7
    assert out.terms["centring"].item() == pytest.approx(0.01 * 16.25 / 7)
    assert out.total.item() == pytest.approx(sum(t.item() for t in out.terms.values()))


@pytest.mark.parametrize("wrong", [{"label_smoothing": 0.5}, {"centring": -1.0}])
def test_values_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BradleyTerry(**wrong)
