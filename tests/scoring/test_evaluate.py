"""What each condition shows the model, and what is filed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import image, record, tiny_backbone

from mmreward.data.prefix import Collate
from mmreward.model.bundle import make_encoder
from mmreward.model.heads import Linear
from mmreward.model.pooling import LastToken
from mmreward.model.reward import RewardModel
from mmreward.records import Record
from mmreward.scoring.conditions import CONDITIONS
from mmreward.scoring.evaluate import score_set
from mmreward.scoring.score import Batching, ModelRewards
from mmreward.scoring.table import Key, ScoreWriter

SPACED = "One:\n\n  two,\tthree. "
RECORDS = (
    record(0, "Which one?", media=(image(seed=1),), answers=(SPACED, "four")),
    record("No picture here.", answers=("yes", "no", "it may  be")),
    record("Look: ", 0, " And?", media=(image(112, 56, seed=2),), answers=("a b", "c")),
)


@pytest.fixture(scope="module")
def model() -> RewardModel:
    torch.manual_seed(0)
    return RewardModel(tiny_backbone("qwen2_vl"), LastToken, Linear).eval()


@pytest.fixture
def collate(model: RewardModel) -> Collate:
    return Collate(make_encoder(model.backbone, None))


def scorer(model: RewardModel, collate: Collate, **options: Any) -> ModelRewards:
    def untrained() -> RewardModel:
        torch.manual_seed(1)
        return RewardModel(tiny_backbone("qwen2_vl"), LastToken, Linear)

    return ModelRewards(model, collate, {}, untrained, batching=Batching(**options))


def filed(
    folder: Path,
    rewards: ModelRewards,
    *names: str,
    records: Sequence[Record] = RECORDS,
    done: list[int] | None = None,
) -> dict[Key, float]:
    conditions = {name: CONDITIONS[name] for name in names}
    count = (lambda more: None) if done is None else done.append
    with ScoreWriter(folder, {}) as writer:
        score_set(rewards, records, conditions, folder, writer, count)
    return writer.scores


def alone(model: RewardModel, collate: Collate, records: Sequence[Record]) -> list[float]:
    with torch.no_grad():
        return model(collate(list(records))).scores.tolist()


def of(scores: dict[Key, float], name: str, records: Sequence[Record]) -> list[float]:
    return [scores[Key(r.id, k, name)] for r in records for k in range(len(r.responses))]


def test_text_only_takes_the_image_and_its_place_away(tmp_path, model, collate):
    scores = filed(tmp_path, scorer(model, collate), "intact", "text_only")
    by_hand = [
        record("Which one?", answers=(SPACED, "four")),
        record("Look:  And?", answers=("a b", "c")),
    ]
    with_images = [RECORDS[0], RECORDS[2]]
    expected = alone(model, collate, by_hand)
    assert of(scores, "text_only", with_images) == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(of(scores, "intact", with_images), abs=1e-3)
    assert Key(RECORDS[1].id, 0, "text_only") not in scores, "it has no image to take away"


def test_normalised_scores_the_collapsed_answers(tmp_path, model, collate):
    scores = filed(tmp_path, scorer(model, collate), "intact", "normalised")
    by_hand = [
        record(0, "Which one?", media=RECORDS[0].media, answers=("One: two, three.", "four")),
        record("No picture here.", answers=("yes", "no", "it may be")),
    ]
    expected = alone(model, collate, by_hand)
    assert of(scores, "normalised", RECORDS[:2]) == pytest.approx(expected, abs=1e-5)
    assert abs(expected[0] - scores[Key(RECORDS[0].id, 0, "intact")]) > 1e-3


def test_the_model_before_training_scores_what_it_would_alone(tmp_path, model, collate):
    rewards = scorer(model, collate)
    scores = filed(tmp_path, rewards, "intact", "untrained")
    before = rewards._make_untrained().eval()
    expected = alone(before, collate, RECORDS)
    assert of(scores, "untrained", RECORDS) == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(of(scores, "intact", RECORDS), abs=1e-3)


def test_what_a_condition_leaves_as_it_is_is_not_scored_twice(tmp_path, model, collate):
    done: list[int] = []
    scores = filed(tmp_path, scorer(model, collate), "intact", "normalised", done=done)
    assert sum(done) == 3 + 2
    assert of(scores, "normalised", RECORDS[2:]) == of(scores, "intact", RECORDS[2:])
    again: list[int] = []
    filed(tmp_path, scorer(model, collate), "intact", "normalised", done=again)
    assert sum(again) == 0


def test_without_intact_scores_there_are_none_to_take_over(tmp_path, model, collate):
    scores = filed(tmp_path, scorer(model, collate), "normalised")
    assert of(scores, "normalised", RECORDS[2:]) == pytest.approx(
        alone(model, collate, RECORDS[2:]), abs=1e-5
    )


@pytest.mark.parametrize("name", ["intact", "normalised"])
def test_answers_with_the_same_text_tie_exactly(tmp_path, model, collate, name):
    spaced = "the same answer" if name == "intact" else "the  same\nanswer"
    same = record("Which?", answers=("the same answer", "another " * 9, spaced))
    scores = filed(tmp_path, scorer(model, collate), name, records=[same])
    first, other, third = of(scores, name, [same])
    assert first == third != other


def test_a_record_that_its_condition_makes_too_long_is_left_out_of_it(tmp_path, model):
    # The swapped image is four times as large as the record's own.
    small, large = (
        record(0, "Which one?", media=(image(side, side, seed=side),)) for side in (56, 224)
    )
    roomy = Collate(make_encoder(model.backbone, None))
    length = roomy([small]).input_ids.shape[1] - 3
    tight = Collate(make_encoder(model.backbone, length))
    scores = filed(tmp_path, scorer(model, tight), "swapped_image", records=[small, large])
    assert {key.record for key in scores} == {large.id}


def test_a_record_that_cannot_be_read_is_named_and_the_others_are_scored(tmp_path, model):
    short, long = record("Which?"), record("Which?", answers=("x", "long " * 40))
    tight = Collate(make_encoder(model.backbone, 60))
    with ScoreWriter(tmp_path, {}) as writer:
        conditions = {name: CONDITIONS[name] for name in ("intact", "normalised")}
        bad = score_set(scorer(model, tight), [short, long], conditions, tmp_path, writer)
    assert set(bad) == {long.id} and "max_length=60" in bad[long.id]
    assert {key.record for key in writer.scores} == {short.id}


@pytest.mark.parametrize("after", [1, 2, 5, 8])
def test_an_interrupted_evaluation_finds_the_same_numbers(tmp_path, model, collate, after):
    """To the last digit, although it goes on in the middle of a batch."""
    records = [record("Which? " + "so " * n, answers=("yes", "no " * n)) for n in range(1, 7)]
    names = ("intact", "normalised", "untrained")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    whole = filed(tmp_path / "a", scorer(model, collate), *names, records=records)

    class Killed(Exception):
        pass

    views = iter(range(after))

    def count(more: int) -> None:
        if next(views, None) is None:
            raise Killed

    conditions = {name: CONDITIONS[name] for name in names}
    with ScoreWriter(tmp_path / "b", {}) as writer, pytest.raises(Killed):
        score_set(scorer(model, collate), records, conditions, tmp_path / "b", writer, count)
    assert 0 <= len(writer.scores) < len(whole)
    assert filed(tmp_path / "b", scorer(model, collate), *names, records=records) == whole
