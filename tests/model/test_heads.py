"""Heads: shapes, initialisation, bounds."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import text_records, tiny_backbone
from omegaconf import OmegaConf
from torch import nn

from mmreward.config import CONF, build
from mmreward.data.prefix import Collate
from mmreward.model.bundle import make_encoder
from mmreward.model.heads import Adaptive, BoundedMLP, Enhanced, Linear
from mmreward.model.pooling import LastToken
from mmreward.model.reward import RewardModel

HEADS = sorted(path.stem for path in (CONF / "model" / "head").glob("*.yaml"))


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> nn.Module:
    """Each head in conf/ at the width of a real model."""
    node = OmegaConf.load(CONF / "model" / "head" / f"{request.param}.yaml")
    return build(node, "head")(512)


def test_one_score_per_answer(head: nn.Module) -> None:
    assert head(torch.randn(5, 512)).shape == (5,)


def test_weights_start_small_and_biases_at_zero(head: nn.Module) -> None:
    for module in head.modules():
        if isinstance(module, nn.Linear):
            error = 4 * 0.02 / math.sqrt(2 * module.weight.numel())
            assert module.weight.std().item() == pytest.approx(0.02, abs=error)
            assert not module.bias.any()


def test_scores_do_not_depend_on_the_company(head: nn.Module) -> None:
    pooled = torch.randn(4, 512)
    torch.testing.assert_close(head.eval()(pooled)[2:3], head(pooled[2:3]))


def sizes(head: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in head.modules() if isinstance(m, nn.Linear)]


def test_the_layers() -> None:
    assert sizes(Linear(8)) == [(8, 1)]
    assert sizes(Enhanced(8)) == [(8, 4), (4, 1)]
    assert sizes(Adaptive(8)) == [(8, 8), (8, 4), (4, 1)]
    assert sizes(BoundedMLP(8)) == [(8, 8), (8, 1)]


def test_enhanced_drops_out_in_training_only() -> None:
    head, pooled = Enhanced(64), torch.randn(3, 64)
    assert not torch.equal(head(pooled), head(pooled))
    head.eval()
    assert torch.equal(head(pooled), head(pooled))
    plain = Enhanced(64, dropout=0.0)
    assert torch.equal(plain(pooled), plain(pooled))


def with_raw(head: BoundedMLP, raw: list[float]) -> torch.Tensor:
    """The scores a head makes of these unbounded ones, with a gradient to them."""
    values = torch.tensor(raw, requires_grad=True)
    head.score = nn.Identity()
    scores = head(values[:, None])
    scores.sum().backward()
    return torch.stack([scores.detach(), values.grad])


def test_the_bound_by_hand() -> None:
    scores, slopes = with_raw(BoundedMLP(8, -2.0, 6.0), [-1e4, -3.0, 0.0, 0.5, 4.0, 1e4])
    expected = [2 + 4 * math.tanh(x / 4) for x in (-1e4, -3.0, 0.0, 0.5, 4.0, 1e4)]
    assert scores.tolist() == pytest.approx(expected)
    assert scores[0] == -2.0 and scores[2] == 2.0 and scores[-1] == 6.0
    assert slopes[2] == 1.0 and slopes[1] > 0 and slopes[4] > 0.4


def test_the_bound_keeps_the_order_and_a_gradient_beyond_itself() -> None:
    scores, slopes = with_raw(BoundedMLP(8), [4.0, 6.0, 10.0, 20.0])
    assert (scores.diff() > 0).all() and (scores < 5).all() and (slopes > 0).all()


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(ValueError, match="score_min=5.0 must be smaller than score_max=-5.0"):
        BoundedMLP(8, 5.0, -5.0)


@pytest.mark.parametrize("name", HEADS)
def test_the_head_runs_in_float32_under_autocast(name: str) -> None:
    node = OmegaConf.load(CONF / "model" / "head" / f"{name}.yaml")
    model = RewardModel(tiny_backbone("qwen2"), LastToken, build(node, "head")).eval()
    seen = []
    for module in model.head.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    batch = Collate(make_encoder(model.backbone, None))(text_records())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(batch).scores.dtype == torch.float32
    assert seen and set(seen) == {torch.float32}
