"""What every loss in conf/loss must be: invariant, weighted, finite, in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from helpers import record, text_batch
from omegaconf import OmegaConf

from mmreward.config import CONF, build
from mmreward.data.prefix import PrefixBatch
from mmreward.losses import Loss, LossOutput
from mmreward.model.reward import RewardOutput
from mmreward.records import Record, Response

# A loss with a second form is held to everything in both.
FORMS = {"margin": ["bradley_terry"], "contrastive": ["in_batch"]}
LOSSES = [
    (path.stem, form)
    for path in sorted((CONF / "loss").glob("*.yaml"))
    for form in [None, *FORMS.get(path.stem, [])]
]
# These read differences of scores alone, so that the sign of a difference is all there is.
OF_DIFFERENCES = [loss for loss in LOSSES if loss[0] not in ("contrastive", "plackett_luce")]

Make = Callable[[], Loss]


@pytest.fixture(params=LOSSES, ids=lambda p: ":".join(filter(None, p)))
def name(request: pytest.FixtureRequest) -> str:
    return request.param[0]


@pytest.fixture
def make(name: str, request: pytest.FixtureRequest) -> Make:
    """The loss as conf/ builds it; afresh each time, since one of them remembers batches."""
    form = request.node.callspec.params["name"][1]
    node = OmegaConf.load(CONF / "loss" / f"{name}.yaml")
    if form:
        node.form = form
    return lambda: build(node, "loss")


def scored(answers: str, ranks: tuple[int, ...], weight: float = 1.0) -> Record:
    """A text record whose answers carry a score, so that its pairs have margins."""
    plain = record(answers, answers=tuple(answers), ranks=ranks, weight=weight)
    responses = tuple(replace(r, score=-0.3 * r.rank) for r in plain.responses)
    return replace(plain, responses=responses)


RECORDS = [
    scored("ab", (0, 1)),
    scored("cde", (0, 1, 1)),
    scored("fghi", (2, 0, 1, 1), weight=2.0),
    scored("jk", (1, 0)),
    scored("lm", (0, 0)),
]
SCORES = torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0, 0.3, 1.2, -0.4, 0.1, 0.2, 0.6, 3.0, 1.0])


def evaluate(make: Make, scores: torch.Tensor, batch: PrefixBatch) -> LossOutput:
    return make()(RewardOutput(scores), batch)


def total(make: Make, scores: torch.Tensor, batch: PrefixBatch) -> float:
    return evaluate(make, scores, batch).total.item()


def gradient(make: Make, scores: torch.Tensor, batch: PrefixBatch) -> torch.Tensor:
    scores = scores.clone().requires_grad_()
    evaluate(make, scores, batch).total.backward()
    return scores.grad


def test_the_terms_add_up_to_the_total(make: Make) -> None:
    out = evaluate(make, SCORES, text_batch(*RECORDS))
    assert out.total.shape == () and all(term.shape == () for term in out.terms.values())
    assert sum(t.item() for t in out.terms.values()) == pytest.approx(out.total.item())


def test_the_better_answer_is_pushed_up(make: Make) -> None:
    """Apart, not past: a penalty on margins may pull back later."""
    grad = gradient(make, torch.zeros(13), text_batch(*RECORDS))
    assert grad[0] < 0 < grad[1]


def test_a_shift_of_all_scores_changes_nothing(make: Make) -> None:
    batch = text_batch(*RECORDS)
    assert total(make, SCORES + 7.0, batch) == pytest.approx(total(make, SCORES, batch), abs=1e-5)


def test_the_order_of_the_answers_changes_nothing(make: Make) -> None:
    """Ranks say what is better, positions say nothing."""
    turned = [replace(item, responses=item.responses[::-1]) for item in RECORDS]
    order, first = [], 0
    for item in RECORDS:
        last = first + len(item.responses)
        order += range(last - 1, first - 1, -1)
        first = last
    ours = total(make, SCORES, text_batch(*RECORDS))
    assert total(make, SCORES[order], text_batch(*turned)) == pytest.approx(ours, abs=1e-5)


@pytest.mark.parametrize("name", OF_DIFFERENCES, indirect=True)
def test_exchanged_labels_and_negated_scores_change_nothing(make: Make) -> None:
    batch = text_batch(*RECORDS)
    flipped = replace(batch, pairs=batch.pairs.flip(1))
    assert total(make, -SCORES, flipped) == pytest.approx(total(make, SCORES, batch), abs=1e-5)


def test_a_record_of_weight_zero_is_not_there(make: Make) -> None:
    away = replace(RECORDS[2], weight=0.0)
    batch = text_batch(RECORDS[0], RECORDS[1], away)
    scores = SCORES[:9]
    alone = text_batch(RECORDS[0], RECORDS[1])
    assert total(make, scores, batch) == pytest.approx(total(make, scores[:5], alone), abs=1e-6)
    grad = gradient(make, scores, batch)
    torch.testing.assert_close(grad[:5], gradient(make, scores[:5], alone))
    assert not grad[5:].any()


def test_only_the_proportions_of_weights_matter(make: Make) -> None:
    thrice = [replace(item, weight=3 * item.weight) for item in RECORDS]
    ours = total(make, SCORES, text_batch(*RECORDS))
    assert total(make, SCORES, text_batch(*thrice)) == pytest.approx(ours, abs=1e-5)


def test_a_heavier_record_moves_the_loss_towards_its_own(make: Make) -> None:
    scores = torch.tensor([3.0, 0.0, 0.0, 3.0])  # right by 3, wrong by 3
    losses = [
        total(make, scores, text_batch(scored("ab", (0, 1), right), scored("cd", (0, 1), 1.0)))
        for right in (0.25, 1.0, 4.0)
    ]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("difference", [0.0, 20.0, 1e4])
def test_finite_at_extremes(make: Make, difference: float, sign: float, dtype: torch.dtype) -> None:
    batch = text_batch(*RECORDS)
    scores = (sign * difference * (0.5 - batch.answer_rank.clamp(max=1))).to(dtype)
    assert scores[0] - scores[1] == sign * difference
    out = evaluate(make, scores.requires_grad_(), batch)
    out.total.backward()
    assert torch.isfinite(out.total) and torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_are_computed_in_float32(make: Make, dtype: torch.dtype) -> None:
    batch, half = text_batch(*RECORDS), (SCORES * 1.37).to(dtype)
    ours = evaluate(make, half, batch).total
    assert ours.dtype == torch.float32
    assert torch.equal(ours, evaluate(make, half.float(), batch).total)


def test_a_batch_without_pairs_has_a_finite_gradient(make: Make, name: str) -> None:
    scores = torch.tensor([1.0, 0.0], requires_grad=True)
    out = evaluate(make, scores, text_batch(record("z", answers=("a", "b"), ranks=(0, 0))))
    out.total.backward()
    assert torch.isfinite(scores.grad).all()
    if name == "ties":
        assert out.total > 0 and scores.grad[0] > 0 > scores.grad[1], "equals are drawn together"
    else:
        assert out.total == 0.0 and not scores.grad.any()


@pytest.mark.parametrize("name", [x for x in LOSSES if x[0] != "plackett_luce"], indirect=True)
def test_a_batch_without_any_comparison_costs_nothing(make: Make) -> None:
    unjudged = Record(
        messages=record("z").messages, responses=(Response("a", 0), Response("b", 1)), judged=()
    )
    scores = torch.tensor([1.0, 0.0], requires_grad=True)
    out = evaluate(make, scores, text_batch(unjudged))
    out.total.backward()
    assert out.total == 0.0 and not scores.grad.any()


def test_the_usual_batches_of_records_are_accepted(make: Make) -> None:
    make().check(2, RECORDS)
