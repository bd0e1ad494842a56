"""Rewards of records: the same whoever asks, in whatever batches, wherever they are encoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from helpers import family_records, image, record, tiny_backbone
from torch import nn

from mmreward.data.encoding import Encoder
from mmreward.data.prefix import Collate, PrefixBatch
from mmreward.errors import UserError
from mmreward.model.bundle import make_encoder
from mmreward.model.heads import Linear
from mmreward.model.pooling import LastToken
from mmreward.model.reward import RewardModel, RewardOutput
from mmreward.records import Record, RecordError
from mmreward.scoring.conditions import CONDITIONS
from mmreward.scoring.evaluate import show
from mmreward.scoring.score import Batching, ModelRewards, encode, score

FAMILY = "qwen2_vl"
RECORDS = family_records(FAMILY)


class Spy(nn.Module):
    """A model that remembers the batches it was given."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.batches: list[PrefixBatch] = []
        self.types: set[torch.dtype] = set()

    def forward(self, batch: PrefixBatch) -> RewardOutput:
        self.batches.append(batch)
        layer = self.model.backbone.body.language_model.layers[0].mlp
        hook = layer.register_forward_hook(lambda *seen: self.types.add(seen[-1].dtype))
        output = self.model(batch)
        hook.remove()
        return output


@pytest.fixture(scope="module")
def model() -> RewardModel:
    torch.manual_seed(0)
    return RewardModel(tiny_backbone(FAMILY), LastToken, Linear).eval()


def rewards(model: nn.Module, collate: Collate, records: Sequence[Record], **how: Any) -> Any:
    found = dict(score(model, collate, records, **how))
    return [found[number] for number in range(len(records))]


@pytest.mark.parametrize("layout", ["shared", "separate"])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_batching_gives_the_same_rewards(
    model: RewardModel, layout: Any, workers: int
) -> None:
    collate = Collate(make_encoder(model.backbone, None), layout)
    expected = [pytest.approx(model(collate([one])).scores.tolist(), abs=1e-5) for one in RECORDS]
    for tokens, records in ((1, 128), (200, 128), (100_000, 3), (100_000, 128)):
        batching = Batching(tokens, records, workers)
        assert rewards(model, collate, RECORDS, batching=batching) == expected


def test_a_batch_holds_as_many_tokens_as_it_may_images_included(model: RewardModel) -> None:
    spy = Spy(model)
    collate = Collate(make_encoder(model.backbone, None))
    pictures = [record(0, "Which?", media=(image(224, 224, seed=n),)) for n in range(9)]
    (length,) = {collate([one]).input_ids.shape[1] for one in pictures}
    assert length > 64, "most of its tokens are the image's"
    rewards(spy, collate, pictures, batching=Batching(tokens=4 * length + 3))
    assert [len(batch.input_ids) for batch in spy.batches] == [4, 4, 1]
    assert all(batch.input_ids.numel() <= 4 * length for batch in spy.batches)


def test_one_answer_or_many(model: RewardModel) -> None:
    """An answer alone has the reward that it has beside another one."""
    collate = Collate(make_encoder(model.backbone, None))
    both = record("Which digit is this?", answers=("It is three.", "seven"))
    alone = Record(both.messages, both.responses[:1])
    (pair,), (single,) = (rewards(model, collate, [one]) for one in (both, alone))
    assert single == pytest.approx(pair[:1], abs=1e-5)


def test_answers_of_equal_tokens_tie_exactly(model: RewardModel) -> None:
    """Texts that the tokenizer cannot tell apart are one answer to the model."""
    encoder = make_encoder(model.backbone, None)
    plain = encoder.tokenize
    encoder.tokenize = lambda text: plain(text.lower())  # type: ignore[method-assign]
    same = record("Which?", answers=("One", "other", "oNE"))
    ((first, other, second),) = rewards(model, Collate(encoder), [same])
    assert first == second != other


def test_what_cannot_be_read_does_not_stop_the_others(model: RewardModel) -> None:
    collate = Collate(make_encoder(model.backbone, 60))
    long = record("Which?", answers=("a", "long " * 60))
    found = rewards(model, collate, [long, record("x"), long, record("y"), long])
    assert [isinstance(one, RecordError) for one in found] == [True, False, True, False, True]
    assert all(isinstance(one, RecordError) for one in rewards(model, collate, [long]))


@pytest.mark.parametrize("workers", [0, 1])
def test_images_for_a_model_of_text_are_an_error_without_a_workers_traceback(workers: int) -> None:
    torch.manual_seed(0)
    text = RewardModel(tiny_backbone("gpt2"), LastToken, Linear).eval()
    collate = Collate(make_encoder(text.backbone, None))
    with pytest.raises(UserError, match=r"^record \w+: it has images") as caught:
        rewards(text, collate, RECORDS, batching=Batching(workers=workers))
    assert not isinstance(caught.value, RecordError)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)],
)
def test_it_computes_as_it_was_trained(model: RewardModel, precision: str, dtype: Any) -> None:
    spy = Spy(model)
    collate = Collate(make_encoder(model.backbone, None))
    found = rewards(spy, collate, RECORDS[:2], precision=precision)
    assert spy.types == {dtype}
    full = rewards(model, collate, RECORDS[:2])
    assert found == [pytest.approx(one, rel=0.1, abs=0.1) for one in full]
    assert (found == full) is (precision == "32-true")


def test_scoring_does_not_shift_the_random_numbers_of_a_training(model: RewardModel) -> None:
    collate = Collate(make_encoder(model.backbone, None))
    before = torch.get_rng_state()
    rewards(model, collate, RECORDS[:2], batching=Batching(workers=1))
    assert torch.equal(before, torch.get_rng_state())


def test_a_record_is_encoded_once_and_a_grey_image_takes_its_tokens_over(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [one for one in RECORDS if one.media]
    encoder = make_encoder(model.backbone, None)
    counted: Counter[str] = Counter()
    for name in ("_images", "_prompt"):
        plain = getattr(Encoder, name)

        def spied(self: Encoder, *given: Any, plain: Any = plain, name: str = name) -> Any:
            counted[name] += 1
            return plain(self, *given)

        monkeypatch.setattr(Encoder, name, spied)
    asked = {name: CONDITIONS[name] for name in ("intact", "untrained", "blind_image")}
    scorer = ModelRewards(model, Collate(encoder), {}, lambda: model)
    found = {(s.record.id, c): r for s, c, r in scorer.rewards([show(records, asked)])}
    assert counted == {"_images": 2 * len(records), "_prompt": len(records)}
    for one in records:
        grey = CONDITIONS["blind_image"].transform([one])[0]
        assert grey is not None
        by_hand = rewards(model, Collate(encoder), [grey])[0]
        assert found[one.id, "blind_image"] == pytest.approx(by_hand, abs=1e-5)
        assert found[one.id, "intact"] == found[one.id, "untrained"]
        assert found[one.id, "intact"] != pytest.approx(by_hand, abs=1e-4)


@pytest.mark.parametrize("size", [(56, 56), (112, 56), (56, 112)])
def test_tokens_are_taken_over_where_they_are_the_same_alone(
    model: RewardModel, size: tuple[int, int]
) -> None:
    encoder = make_encoder(model.backbone, None)
    own = record(0, "Which?", media=(image(112, 56, seed=1),))
    other = Record(own.messages, own.responses, (image(*size, seed=2),))
    (found,) = encode(encoder, [[own, other]], Batching())
    expected = encoder.encode(other)
    shown = found[1]
    assert not isinstance(shown, RecordError)
    assert (shown.prompt_ids, shown.prompt_types) == (expected.prompt_ids, expected.prompt_types)
    assert torch.equal(encoder.positions(shown), encoder.positions(expected))
    assert all(torch.equal(shown.media[name], t) for name, t in expected.media.items())
