"""Poolings: what they see, what they must not see, and that the layout does not matter."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import FAMILIES, family_records, record, text_batch, tiny_backbone
from omegaconf import OmegaConf
from torch import Tensor, nn

from mmreward.config import CONF, build
from mmreward.data.prefix import Collate, PrefixBatch
from mmreward.errors import UserError
from mmreward.model.bundle import make_encoder
from mmreward.model.heads import Linear
from mmreward.model.pooling import Attention, Fusion, LastToken, Mean, resolve_layers
from mmreward.model.reward import RewardModel

POOLINGS = sorted(path.stem for path in (CONF / "model" / "pooling").glob("*.yaml"))


def partial_pooling(name: str) -> nn.Module:
    return build(OmegaConf.load(CONF / "model" / "pooling" / f"{name}.yaml"), "pooling")


def reward_model(name: str, family: str) -> RewardModel:
    """With parameters away from their start: a query of zero attends to everything alike."""
    model = RewardModel(tiny_backbone(family), partial_pooling(name), Linear).eval()
    for parameter in [*model.pooling.parameters(), model.head.score.weight]:
        nn.init.normal_(parameter, std=1.0)
    return model


def results(model: RewardModel, batch: PrefixBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """(scores, gradients of their weighted sum)."""
    model.zero_grad()
    scores = model(batch).scores
    (scores * torch.linspace(-1, 1, len(scores))).sum().backward()
    return scores.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", POOLINGS)
def test_shared_equals_separate(name: str, family: str) -> None:
    model = reward_model(name, family)
    encoder = make_encoder(model.backbone, None)
    records = family_records(family)
    scores, gradients = results(model, Collate(encoder, "shared")(records))
    apart, gradients_apart = results(model, Collate(encoder, "separate")(records))
    assert scores.std() > 0.5, "the test would not see a difference"
    torch.testing.assert_close(scores, apart, atol=1e-4, rtol=1e-4)
    assert gradients.keys() == gradients_apart.keys()
    for parameter, gradient in gradients.items():
        scale = gradients_apart[parameter].abs().max().clamp(min=1.0)
        assert (gradient - gradients_apart[parameter]).abs().max() / scale < 1e-3, parameter


@pytest.mark.parametrize("layout", ["shared", "separate"])
@pytest.mark.parametrize("name", POOLINGS)
def test_an_answer_is_scored_by_its_own_tokens_alone(name: str, layout: str) -> None:
    """Each answer's states are replaced in turn, then everything else's."""
    model = reward_model(name, "qwen2")
    encoder = make_encoder(model.backbone, None)
    batch = Collate(encoder, layout)(family_records("qwen2"))
    states = [torch.randn(*batch.input_ids.shape, 32) for _ in model.pooling.layers]
    before = model.pooling(states, batch)
    for n in range(len(before)):
        row, own = batch.answer_row[n], torch.zeros_like(batch.segment_ids, dtype=torch.bool)
        own[row] = batch.segment_ids[row] == batch.answer_segment[n]
        inside = [torch.where(own[..., None], torch.randn_like(s), s) for s in states]
        outside = [torch.where(own[..., None], s, torch.randn_like(s)) for s in states]
        changed = (model.pooling(inside, batch) != before).any(1)
        assert changed.nonzero().squeeze(1).tolist() == [n]
        assert torch.equal(model.pooling(outside, batch)[n], before[n])


@pytest.mark.parametrize(
    ("name", "reads_turn_end"),
    [("mean", False), ("attention", False), ("last_token", True), ("fusion", True)],
)
def test_who_reads_the_turn_end_token(name: str, reads_turn_end: bool) -> None:
    """It alone, or everything of the answer but it."""
    model = reward_model(name, "qwen2")
    batch = text_batch(record("x", answers=("I see two.", "one")))
    states = [torch.randn(*batch.input_ids.shape, 32) for _ in model.pooling.layers]
    turn_end = torch.zeros_like(batch.segment_ids, dtype=torch.bool)
    turn_end[batch.answer_row, batch.pool_index] = True
    moved = [torch.where(turn_end[..., None], torch.randn_like(s), s) for s in states]
    kept = [torch.where(turn_end[..., None], s, torch.randn_like(s)) for s in states]
    before = model.pooling(states, batch)
    assert torch.equal(model.pooling(moved, batch), before) is not reads_turn_end
    assert torch.equal(model.pooling(kept, batch), before) is reads_turn_end


def worked_example() -> tuple[PrefixBatch, Tensor]:
    """Two answers of 3 and 2 tokens before their turn-end; the states count the positions."""
    batch = text_batch(record("?", answers=("abc", "de")))
    # No word of these is known to the tiny tokenizer: a token each.
    assert batch.pool_index.diff().item() == 3
    first = int((batch.segment_ids[0] == 0).sum())
    position = torch.arange(batch.input_ids.shape[1]) - first
    return batch, torch.stack([position, position**2], dim=-1)[None].float()


def test_mean_by_hand() -> None:
    batch, states = worked_example()
    pooled = Mean(2, 3)([states], batch)
    expected = [[1.0, (0 + 1 + 4) / 3], [4.5, (16 + 25) / 2]]
    torch.testing.assert_close(pooled, torch.tensor(expected))


def test_last_token_by_hand() -> None:
    batch, states = worked_example()
    assert LastToken(2, 3)([states], batch).tolist() == [[3.0, 9.0], [6.0, 36.0]]


def test_attention_by_hand() -> None:
    batch, states = worked_example()
    pooling = Attention(2, 3)
    torch.testing.assert_close(pooling([states], batch), Mean(2, 3)([states], batch))
    with torch.no_grad():
        pooling.query.copy_(torch.tensor([math.sqrt(2.0), 0.0]))
    weights = [[math.exp(p) for p in (0, 1, 2)], [math.exp(p) for p in (4, 5)]]
    first = (weights[0][1] + 2 * weights[0][2]) / sum(weights[0])
    second = (4 * weights[1][0] + 5 * weights[1][1]) / sum(weights[1])
    torch.testing.assert_close(pooling([states], batch)[:, 0], torch.tensor([first, second]))


def test_attention_of_large_logits_is_finite() -> None:
    batch, states = worked_example()
    pooling = Attention(2, 3)
    nn.init.constant_(pooling.query, 1e4)
    pooled = pooling([states.requires_grad_()], batch)
    pooled.sum().backward()
    assert pooled[:, 0].tolist() == [2.0, 5.0]
    assert torch.isfinite(states.grad).all() and torch.isfinite(pooling.query.grad).all()


@pytest.mark.parametrize("name", ["mean", "attention"])
def test_a_long_answer_in_half_precision_does_not_overflow(name: str) -> None:
    """The sum of 1,000 states of 100 is beyond float16."""
    batch = text_batch(record("?", answers=("x" * 1000, "y")))
    states = torch.full((*batch.input_ids.shape, 4), 100.0, dtype=torch.float16)
    pooled = partial_pooling(name)(4, 3)([states], batch)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, torch.full((2, 4), 100.0), rtol=1e-4, atol=0.0)


# -- fusion --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_layers", "expected"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (5, [2, 3, 4, 5]), (12, [6, 9, 10, 11, 12])],
)
def test_the_last_four_and_the_middle_layer_as_far_as_they_exist(
    num_layers: int, expected: list[int]
) -> None:
    assert resolve_layers(None, num_layers) == expected


def test_layers_can_be_named_from_either_end() -> None:
    assert resolve_layers([-1, 2, -3], 12) == [2, 10, 12]
    assert resolve_layers([0], 12) == [0]


@pytest.mark.parametrize("layers", [[13], [-14], [12, -1], []])
def test_layers_that_do_not_exist_or_repeat_are_refused(layers: list[int]) -> None:
    with pytest.raises(ValueError, match="layers="):
        resolve_layers(layers, 12)


def test_the_configuration_names_what_is_wrong_with_its_layers() -> None:
    node = OmegaConf.load(CONF / "model" / "pooling" / "fusion.yaml")
    node.layers = [7]
    model = {
        "_target_": "mmreward.model.reward.RewardModel",
        "backbone": OmegaConf.load(CONF / "model" / "backbone" / "tiny_gpt2.yaml"),
        "pooling": node,
        "head": OmegaConf.load(CONF / "model" / "head" / "linear.yaml"),
    }
    with pytest.raises(UserError, match=r"layers=\[7\] names layer 7, but the backbone has 3"):
        build(model, "model")


@pytest.mark.parametrize("family", ["gpt2", "qwen2_vl"])
def test_fusion_mixes_the_states_of_the_layers_it_names(family: str) -> None:
    """Against transformers' own hidden states of one answer alone, each scaled to size 1."""
    model = RewardModel(tiny_backbone(family), Fusion, Linear).eval()
    assert model.pooling.layers == [1, 2]
    nn.init.normal_(model.pooling.mix)
    weights = model.pooling.mix.exp() / model.pooling.mix.exp().sum()
    encoder = make_encoder(model.backbone, None)
    item = family_records(family)[0]
    encoded = encoder.encode(item)
    batch = Collate(encoder).batch([encoded])
    pooled = model.pooling(model.backbone(batch, model.pooling.layers), batch)
    for k, answer in enumerate(encoded.answer_ids):
        ids = torch.tensor([encoded.prompt_ids + answer])
        output = model.backbone.body(input_ids=ids, output_hidden_states=True)
        inner, last = output.hidden_states[1][0, -1], output.last_hidden_state[0, -1]
        expected = sum(
            w * state / state.square().mean().sqrt()
            for w, state in zip(weights, (inner, last), strict=True)
        )
        torch.testing.assert_close(pooled[k], expected, atol=1e-4, rtol=1e-4)


def test_no_layer_wins_by_the_size_of_its_states() -> None:
    batch, states = worked_example()
    pooling = Fusion(2, 2)
    ours = pooling([states, states.flip(-1)], batch)
    torch.testing.assert_close(pooling([1000 * states, states.flip(-1)], batch), ours)
