"""`layout=auto`: what it rules out, what it finds by trying, what it finds cheaper."""

from __future__ import annotations

import pytest
import torch
from helpers import FAMILIES, VISION_FAMILIES, family_records, image, record, tiny_backbone
from transformers import BertConfig, BertModel, GPTNeoConfig, GPTNeoModel

from mmreward.data.encoding import EncodedRecord, Encoder
from mmreward.errors import UserError
from mmreward.model import layout
from mmreward.model.backbone import Backbone
from mmreward.model.bundle import make_encoder
from mmreward.model.layout import TOLERANCE, cost_ratio, decide_layout, probe_difference
from mmreward.model.tiny import tiny_tokenizer

PROMPT = "Which digit is this? " * 10


@pytest.mark.parametrize("family", FAMILIES)
def test_decoders_share(family: str) -> None:
    backbone = tiny_backbone(family)
    sample = [record(PROMPT), *family_records(family)]
    chosen, reason = decide_layout("auto", backbone, make_encoder(backbone, None), sample)
    assert chosen == "shared", reason


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_vision_models_share_prompts_without_images_too(family: str) -> None:
    backbone = tiny_backbone(family)
    encoder = make_encoder(backbone, None)
    chosen, reason = decide_layout("auto", backbone, encoder, [record(PROMPT)])
    assert chosen == "shared", reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}, "sliding"),
        (
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "dynamic",
        ),
    ],
)
def test_configurations_that_rule_sharing_out(changes: dict, said: str) -> None:
    backbone = tiny_backbone("qwen2", **changes)
    encoder = make_encoder(backbone, None)
    chosen, reason = decide_layout("auto", backbone, encoder, [record(PROMPT)])
    assert chosen == "separate" and said in reason
    with pytest.raises(UserError, match="layout=separate"):
        decide_layout("shared", backbone, encoder, [record(PROMPT)])


def test_a_window_is_seen_where_no_record_of_the_sample_is_as_long() -> None:
    """Longer ones would be scored as if their answers stood further from the prompt."""
    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=512, hidden_size=32, num_layers=2, num_heads=4, window_size=256,
        attention_types=[[["global", "local"], 1]], attn_implementation="eager",
        initializer_range=0.3,
    )  # fmt: skip
    backbone = Backbone(GPTNeoModel(config).eval(), tiny_tokenizer(chat=False))
    encoder = make_encoder(backbone, None)
    sample = [record(PROMPT, answers=("yes", "no", "so"))]
    assert probe_difference(backbone, encoder, encoder.encode(sample[0])) < TOLERANCE
    chosen, reason = decide_layout("auto", backbone, encoder, sample)
    assert chosen == "separate" and "256" in reason


def test_flash_attention_rules_sharing_out() -> None:
    backbone = tiny_backbone("llama")
    backbone.body.config._attn_implementation_internal = "flash_attention_2"
    chosen, reason = decide_layout("auto", backbone, make_encoder(backbone, None), [record(PROMPT)])
    assert chosen == "separate" and "flash_attention_2" in reason


def bert(initializer_range: float) -> Backbone:
    config = BertConfig(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=initializer_range,
    )
    return Backbone(BertModel(config), tiny_tokenizer(chat=False)).eval()


@pytest.mark.parametrize("initializer_range", [0.3, 0.02])
def test_a_bidirectional_encoder_is_found_by_trying(initializer_range: float) -> None:
    """Nothing in its configuration says so; a random model of it does, however small its weights:
    with the usual ones a causal mask moves this one's states by 5e-5 only."""
    backbone = bert(initializer_range)
    encoder = make_encoder(backbone, None)
    chosen, reason = decide_layout("auto", backbone, encoder, [record(PROMPT)])
    assert chosen == "separate" and "tokens see those after them" in reason
    with pytest.raises(UserError, match="tokens see those after them; use layout=separate"):
        decide_layout("shared", backbone, encoder, [record(PROMPT)])


def test_wrong_positions_are_found_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vision model whose positions ours do not match would be given its own rows."""
    backbone = tiny_backbone("qwen2_vl")
    encoder = make_encoder(backbone, None)
    encoded = encoder.encode(record(0, PROMPT, media=(image(112, 56),)))
    assert probe_difference(backbone, encoder, encoded) < TOLERANCE
    wrong = Encoder(backbone.tokenizer, backbone.processor, merge_size=2)
    wrong.positions = lambda item: torch.arange(len(item.prompt_ids)).expand(3, -1)  # type: ignore
    assert probe_difference(backbone, wrong, encoded) > 10 * TOLERANCE


def test_trying_disturbs_neither_the_backbone_nor_the_random_numbers() -> None:
    backbone = tiny_backbone("qwen2_vl")
    before = {n: p.clone() for n, p in backbone.named_parameters()}
    config = backbone.config.to_dict()
    state = torch.get_rng_state()
    encoder = make_encoder(backbone, None)
    decide_layout("auto", backbone, encoder, [record(0, PROMPT, media=(image(),))])
    assert torch.equal(torch.get_rng_state(), state)
    assert backbone.config.to_dict() == config
    assert all(torch.equal(before[n], p) for n, p in backbone.named_parameters())


def lengths(prompt: int, *answers: int) -> EncodedRecord:
    return EncodedRecord(record("x"), [5] * prompt, [0] * prompt, [[5] * n for n in answers])


def test_cost_by_hand() -> None:
    config = tiny_backbone("llama").config  # hidden size 32
    shared = 24 * 32**2 * 8 + 4 * 32 * 8**2
    separate = 2 * (24 * 32**2 * 6 + 4 * 32 * 6**2)
    assert cost_ratio(config, [lengths(4, 2, 2)]) == pytest.approx(shared / separate)


def test_short_prompts_with_many_long_answers_are_cheaper_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prompt 300 and 8 answers of 1,024 tokens, at the width of Qwen2-VL-2B; and the other way."""
    config = tiny_backbone("llama").config
    config.hidden_size = 1536
    assert cost_ratio(config, [lengths(300, *[1024] * 8)]) > 1.0
    assert cost_ratio(config, [lengths(1320, 100, 100)]) < 0.6
    monkeypatch.setattr(layout, "cost_ratio", lambda *_: 1.2)
    backbone = tiny_backbone("llama")
    chosen, reason = decide_layout("auto", backbone, make_encoder(backbone, None), [record(PROMPT)])
    assert chosen == "separate" and "1.20" in reason


def test_an_unknown_layout_is_refused() -> None:
    backbone = tiny_backbone("llama")
    with pytest.raises(UserError, match="shared, separate, auto"):
        decide_layout("both", backbone, make_encoder(backbone, None), [])


@pytest.mark.parametrize("layers", [1, 3])
def test_any_number_of_layers_can_be_tried(layers: int) -> None:
    backbone = tiny_backbone("qwen2_vl", num_hidden_layers=layers)
    encoder = make_encoder(backbone, None)
    chosen, reason = decide_layout("auto", backbone, encoder, [record(PROMPT)])
    assert chosen == "shared", reason
