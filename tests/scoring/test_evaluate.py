"""What each condition shows the model, and what it files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from helpers import image, record, tiny_backbone

from mmreward.data.prefix import Collate
from mmreward.model.bundle import make_encoder
from mmreward.model.heads import Linear
from mmreward.model.pooling import LastToken
from mmreward.model.reward import RewardModel
from mmreward.records import Record
from mmreward.scoring.evaluate import CONDITIONS, MOST_WORK, batches, score_condition
from mmreward.scoring.table import CONDITIONS as SHOWN
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


def filed(folder: Path, model: RewardModel, collate: Collate, *names: str) -> dict[Key, float]:
    with ScoreWriter(folder, {}) as writer:
        for name in names:
            score_condition(name, model, collate, RECORDS, writer, batch_size=2)
    return writer.scores


def alone(model: RewardModel, collate: Collate, records: Sequence[Record]) -> list[float]:
    with torch.no_grad():
        return model(collate(list(records))).scores.tolist()


def of(scores: dict[Key, float], name: str, records: Sequence[Record]) -> list[float]:
    return [scores[Key(r.id, k, name)] for r in records for k in range(len(r.responses))]


def test_text_only_takes_the_image_and_its_place_away(tmp_path, model, collate):
    scores = filed(tmp_path, model, collate, "intact", "text_only")
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
    scores = filed(tmp_path, model, collate, "intact", "normalised")
    by_hand = [
        record(0, "Which one?", media=RECORDS[0].media, answers=("One: two, three.", "four")),
        record("No picture here.", answers=("yes", "no", "it may be")),
    ]
    expected = alone(model, collate, by_hand)
    assert of(scores, "normalised", RECORDS[:2]) == pytest.approx(expected, abs=1e-5)
    assert abs(expected[0] - scores[Key(RECORDS[0].id, 0, "intact")]) > 1e-3


def test_what_a_condition_leaves_as_it_is_is_not_scored_twice(tmp_path, model, collate):
    with ScoreWriter(tmp_path, {}) as writer:
        assert score_condition("intact", model, collate, RECORDS, writer, 2) == 3
        assert score_condition("normalised", model, collate, RECORDS, writer, 2) == 2
        assert score_condition("untrained", model, collate, RECORDS, writer, 2) == 3
    assert of(writer.scores, "normalised", RECORDS[2:]) == of(writer.scores, "intact", RECORDS[2:])


def test_without_intact_scores_there_are_none_to_take_over(tmp_path, model, collate):
    scores = filed(tmp_path, model, collate, "normalised")
    assert of(scores, "normalised", RECORDS[2:]) == pytest.approx(
        alone(model, collate, RECORDS[2:]), abs=1e-5
    )


@pytest.mark.parametrize("name", ["intact", "normalised"])
def test_answers_with_the_same_text_tie_exactly(tmp_path, model, collate, name):
    spaced = "the same answer" if name == "intact" else "the  same\nanswer"
    same = record("Which?", answers=("the same answer", "another " * 9, spaced))
    with ScoreWriter(tmp_path, {}) as writer:
        score_condition(name, model, collate, [same], writer, 1)
    first, other, third = of(writer.scores, name, [same])
    assert first == third != other


def test_a_record_that_its_condition_makes_too_long_is_left_out_of_it(tmp_path, model):
    # The swapped image is four times as large as the record's own.
    small, large = (
        record(0, "Which one?", media=(image(side, side, seed=side),)) for side in (56, 224)
    )
    roomy = Collate(make_encoder(model.backbone, None))
    length = roomy([small]).input_ids.shape[1] - 3
    tight = Collate(make_encoder(model.backbone, length))
    with ScoreWriter(tmp_path, {}) as writer:
        score_condition("swapped_image", model, tight, [small, large], writer, 1)
    assert {key.record for key in writer.scores} == {large.id}


def test_every_condition_has_its_place_in_the_reports():
    assert set(CONDITIONS) == set(SHOWN)


def test_long_records_come_in_small_batches() -> None:
    """None is lost, none is in a batch that would take more than it may, unless it is alone."""
    lengths = [10] * 300 + [3000] * 40 + [20000]
    waiting = [(str(n), record("x" * length)) for n, length in enumerate(lengths)]
    found = list(batches(waiting, 128))
    assert [item for chunk in found for item in chunk] == waiting
    assert [len(chunk) for chunk in found[:2]] == [128, 128]
    for chunk in found:
        longest = max(len(one.prompt) for _, one in chunk)
        assert len(chunk) == 1 or len(chunk) * longest**2 <= MOST_WORK


def test_progress_adds_up_to_what_had_to_be_scored(
    tmp_path: Path, model: RewardModel, collate: Collate
) -> None:
    shares: list[float] = []
    with ScoreWriter(tmp_path, {}) as writer:
        score_condition("intact", model, collate, RECORDS, writer, 2, shares.append)
        score_condition("intact", model, collate, RECORDS, writer, 2, shares.append)
    assert len(shares) == 2 and sum(shares) == pytest.approx(1)
