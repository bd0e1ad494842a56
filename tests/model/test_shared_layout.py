"""Answers as branches of one prefix give what separate sequences give: states, gradients, all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import (
    FAMILIES,
    VISION_FAMILIES,
    family_records,
    image,
    image_records,
    record,
    tiny_backbone,
)
from torch import Tensor, nn

from mmreward.data.prefix import Collate, PrefixBatch
from mmreward.errors import UserError
from mmreward.losses import BradleyTerry
from mmreward.model.attention import as_additive, prefix_mask
from mmreward.model.backbone import Backbone
from mmreward.model.bundle import make_encoder
from mmreward.model.heads import Linear
from mmreward.model.logprobs import answer_logprobs
from mmreward.model.pooling import LastToken
from mmreward.model.reward import RewardModel

CLOSE = 2e-5  # float32, states of size about 1


def reward_model(backbone: Backbone) -> RewardModel:
    model = RewardModel(backbone, LastToken, Linear).eval()
    nn.init.normal_(model.head.score.weight, std=0.3)
    return model


def logprobs(model: RewardModel, batch: PrefixBatch) -> Tensor:
    embedding = model.backbone.body.get_input_embeddings().weight
    return answer_logprobs(model.backbone(batch)[0], embedding, batch, chunk=7)


def results(model: RewardModel, batch: PrefixBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(scores, log-probabilities, gradients of a loss on both)."""
    model.zero_grad()
    output = model(batch)
    logps = logprobs(model, batch)
    (BradleyTerry()(output, batch).total + logps.mean()).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return output.scores.detach(), logps.detach(), gradients


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        scale = theirs[name].abs().max().clamp(min=1.0)
        assert (ours[name] - theirs[name]).abs().max() / scale < 1e-4, name


@pytest.mark.parametrize("layout", ["shared", "separate"])
@pytest.mark.parametrize("family", ["gpt2", "qwen2_vl"])
def test_an_answer_alone_scores_as_beside_others(family: str, layout: str) -> None:
    model = reward_model(tiny_backbone(family))
    collate = Collate(make_encoder(model.backbone, None), layout)
    whole = family_records(family)
    alone = [
        replace(one, responses=(response,), judged=None)
        for one in whole
        for response in one.responses
    ]
    with torch.no_grad():
        batch = collate(alone)
        scores, beside = model(batch).scores, model(collate(whole)).scores
    assert batch.pairs.shape == (0, 2) and batch.ties.shape == (0, 2)
    assert beside.std() > 0.05, "the test would not see a difference"
    torch.testing.assert_close(scores, beside, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_shared_equals_separate(family: str, attention: str) -> None:
    model = reward_model(tiny_backbone(family, attention))
    encoder = make_encoder(model.backbone, None)
    records = family_records(family)
    scores, logps, gradients = results(model, Collate(encoder, "shared")(records))
    scores_apart, logps_apart, gradients_apart = results(
        model, Collate(encoder, "separate")(records)
    )
    assert scores.std() > 0.05, "the test would not see a difference"
    torch.testing.assert_close(scores, scores_apart, atol=CLOSE, rtol=CLOSE)
    torch.testing.assert_close(logps, logps_apart, atol=1e-3, rtol=CLOSE)
    assert_same(gradients, gradients_apart)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_record_alone_equals_transformers_own_forward(family: str) -> None:
    """One answer, one sequence, no padding, the model's own mask and positions: the truth."""
    backbone = tiny_backbone(family)
    encoder = make_encoder(backbone, None)
    for item in family_records(family):
        encoded = encoder.encode(item)
        batch = Collate(encoder, "shared").batch([encoded])
        ours = backbone(batch)[0][batch.answer_row, batch.pool_index]
        for k, answer in enumerate(encoded.answer_ids):
            ids = torch.tensor([encoded.prompt_ids + answer])
            inputs = {"input_ids": ids, **encoded.media}
            if encoded.media:
                types = encoded.prompt_types + [0] * len(answer)
                inputs["mm_token_type_ids"] = torch.tensor([types])
            stock = backbone.body(**inputs).last_hidden_state[0, -1]
            torch.testing.assert_close(ours[k], stock, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_branches_start_after_the_largest_position_not_the_token_count(family: str) -> None:
    model = reward_model(tiny_backbone(family))
    encoder = make_encoder(model.backbone, None)
    item = record(0, "?", media=(image(112, 112),))
    batch = Collate(encoder, "shared")([item])
    prefix = int((batch.segment_ids[0] == 0).sum())
    start = int(batch.position_ids[:, 0, :prefix].max()) + 1
    assert batch.position_ids[:, 0, prefix].tolist() == [start] * 3
    assert start < prefix, "an image of 4x4 tokens must advance the position by 4"
    right = model(batch).scores
    batch.position_ids[:, batch.segment_ids > 0] += prefix - start
    assert (model(batch).scores - right).abs().max() > 1e-3


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_token_types_reach_the_model(family: str) -> None:
    """Without them Qwen2.5-VL uses one-axis positions and says nothing."""
    backbone = tiny_backbone(family)
    seen = {}
    forward = backbone.body.forward
    backbone.body.forward = lambda **kwargs: seen.update(kwargs) or forward(**kwargs)
    batch = Collate(make_encoder(backbone, None))(image_records())
    backbone(batch)
    image_token = backbone.config.image_token_id
    assert torch.equal(seen["mm_token_type_ids"] == 1, batch.input_ids == image_token)
    assert seen["position_ids"].shape == (3, *batch.input_ids.shape)


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_each_image_is_encoded_once(family: str) -> None:
    encoder = make_encoder(tiny_backbone(family), None)
    records = image_records()
    shared = Collate(encoder, "shared")(records)
    separate = Collate(encoder, "separate")(records)
    assert len(shared.media["image_grid_thw"]) == sum(len(r.media) for r in records)
    assert len(separate.media["image_grid_thw"]) == sum(
        len(r.media) * len(r.responses) for r in records
    )


@pytest.mark.parametrize("layout", ["shared", "separate"])
@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_a_batch_without_images_still_runs_the_vision_tower(family: str, layout: str) -> None:
    """Under FSDP and DDP every rank's tower must take part; the scores must not notice."""
    model = reward_model(tiny_backbone(family))
    encoder = make_encoder(model.backbone, None)
    batch = Collate(encoder, layout)([record("odd?"), record("a longer question than that")])
    output = model(batch)
    BradleyTerry()(output, batch).total.backward()
    tower = dict(model.backbone.body.visual.named_parameters())
    assert all(p.grad is not None and not p.grad.any() for p in tower.values())
    alone = {
        "input_ids": batch.input_ids,
        "attention_mask": (batch.segment_ids >= 0).long(),
    }
    if layout == "separate":
        states = model.backbone.body(**alone).last_hidden_state
        scores = model.head(states[batch.answer_row, batch.pool_index])
        torch.testing.assert_close(output.scores, scores, atol=1e-4, rtol=1e-4)


def test_prefix_mask_of_the_worked_example() -> None:
    segments = torch.tensor([[0, 0, 1, 1, 2, -1]])
    expected = [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]
    mask = prefix_mask(segments)[0, 0]
    assert mask[:5].int().tolist() == expected[:5]
    assert mask[5, 5] and not mask[:5, 5].any(), "padding is seen by nobody but itself"


def test_additive_mask_hides_what_the_bool_mask_hides() -> None:
    mask = prefix_mask(torch.tensor([[0, 1, 2]]))
    added = as_additive(mask, torch.float16)
    assert (added == 0).equal(mask)
    assert (added[~mask] == torch.finfo(torch.float16).min).all()


@pytest.mark.parametrize("family", ["llama", "qwen2_vl"])
def test_a_bool_mask_under_eager_would_mask_nothing(family: str) -> None:
    """Why `as_additive` exists: transformers adds a bool mask as 0 and 1."""
    backbone = tiny_backbone(family, "eager")
    batch = Collate(make_encoder(backbone, None))([record("odd?", answers=("aa", "bb", "cc"))])
    right = backbone(batch)[0]
    backbone._mask = lambda b: prefix_mask(b.segment_ids)  # type: ignore[method-assign]
    wrong = backbone(batch)[0]
    where = (batch.answer_row, batch.pool_index)
    assert (right[where] - wrong[where]).abs().max() > 1e-2


def test_restarting_positions_without_the_mask_cut_a_branch_from_its_prefix() -> None:
    """Why a 4-D mask always goes along: without one transformers takes the row for packed."""
    backbone = tiny_backbone("llama")
    batch = Collate(make_encoder(backbone, None))([record("odd?", answers=("aa", "bb"))])
    right = backbone(batch)[0][0, batch.pool_index]
    wrong = backbone.body(
        input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False
    ).last_hidden_state[0, batch.pool_index]
    torch.testing.assert_close(right[0], wrong[0], atol=1e-4, rtol=1e-4)
    assert (right[1] - wrong[1]).abs().max() > 1e-2


def test_flash_attention_cannot_share() -> None:
    backbone = tiny_backbone("llama")
    backbone.body.config._attn_implementation_internal = "flash_attention_2"
    batch = Collate(make_encoder(backbone, None))([record("odd?")])
    with pytest.raises(UserError, match="layout=separate"):
        backbone(batch)


@pytest.mark.parametrize("family", ["gpt2", "qwen2_vl"])
def test_first_tokens_of_all_branches_are_predicted_by_the_prompts_last(family: str) -> None:
    """The usual shift by one reads the neighbouring branch from the second answer on."""
    model = reward_model(tiny_backbone(family))
    encoder = make_encoder(model.backbone, None)
    batch = Collate(encoder)([record("odd?", answers=("aa", "bb", "cc"))])
    right = logprobs(model, batch)
    batch.predict_from = batch.target_index - 1
    wrong = logprobs(model, batch)
    torch.testing.assert_close(right[0], wrong[0])
    assert ((right - wrong)[1:].abs() > 1e-3).all()


@pytest.mark.parametrize("family", ["llama", "qwen2_vl"])
def test_scores_do_not_depend_on_padding_or_company(family: str) -> None:
    model = reward_model(tiny_backbone(family))
    encoder = make_encoder(model.backbone, None)
    records = family_records(family)
    together = model(Collate(encoder)(records)).scores
    alone = torch.cat([model(Collate(encoder)([r])).scores for r in records])
    torch.testing.assert_close(together, alone, atol=CLOSE, rtol=CLOSE)


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_the_score_depends_on_the_image(family: str) -> None:
    model = reward_model(tiny_backbone(family))
    encoder = make_encoder(model.backbone, None)
    one, other = (record(0, "?", media=(image(seed=s),)) for s in (1, 2))
    difference = model(Collate(encoder)([one])).scores - model(Collate(encoder)([other])).scores
    assert (difference.abs() > 1e-3).all()
