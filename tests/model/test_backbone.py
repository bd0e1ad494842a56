"""Sequences as the backbones themselves count them: their positions and their longest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import FAMILIES, record, text_records, tiny_backbone
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertModel,
    OPTConfig,
    OPTModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from mmreward.data.prefix import Collate
from mmreward.model.backbone import Backbone
from mmreward.model.bundle import make_encoder
from mmreward.model.tiny import tiny_tokenizer
from mmreward.records import RecordError

LONGEST = 48


def learned_positions(name: str) -> PreTrainedModel:
    """A tiny model with a learned vector for each of LONGEST positions."""
    torch.manual_seed(0)
    common = {"vocab_size": 512, "initializer_range": 0.3}
    encoder = {
        **common,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    if name == "bert":
        return BertModel(BertConfig(**encoder, max_position_embeddings=LONGEST))
    if name == "roberta":  # the rows 0 ... padding token's id are not positions
        return RobertaModel(
            RobertaConfig(**encoder, max_position_embeddings=LONGEST + 4, pad_token_id=3)
        )
    if name == "distilbert":
        return DistilBertModel(
            DistilBertConfig(
                **common,
                dim=32,
                hidden_dim=64,
                n_layers=2,
                n_heads=4,
                max_position_embeddings=LONGEST,
            )
        )
    return OPTModel(
        OPTConfig(
            **common,
            hidden_size=32,
            word_embed_proj_dim=32,
            ffn_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LONGEST,
            init_std=0.3,
        )
    )


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "opt"])
def test_separate_rows_have_the_models_own_positions(name: str) -> None:
    backbone = Backbone(learned_positions(name).eval(), tiny_tokenizer(chat=False))
    encoder = make_encoder(backbone, None)
    encoded = [encoder.encode(item) for item in text_records()]
    batch = Collate(encoder, "separate").batch(encoded)
    ours = backbone(batch)[0][batch.answer_row, batch.pool_index]
    sequences = [item.prompt_ids + answer for item in encoded for answer in item.answer_ids]
    for state, ids in zip(ours, sequences, strict=True):
        stock = backbone.body(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        torch.testing.assert_close(state, stock, atol=1e-4, rtol=1e-4)


def test_a_wordpiece_tokenizer_opens_with_cls_and_ends_with_sep(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "how", "many", "three"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    backbone = Backbone(
        learned_positions("bert").eval(), BertTokenizerFast(str(tmp_path / "vocab.txt"))
    )
    encoder = make_encoder(backbone, None)
    encoded = encoder.encode(record("How many", answers=("three", "many three [SEP]")))
    assert encoded.prompt_ids == [2, 5, 6, 3]
    assert encoded.answer_ids[0] == [7, 3]
    assert encoded.answer_ids[1].count(3) == 1  # a literal [SEP] is text
    batch = Collate(encoder, "separate").batch([encoded])
    stock = backbone.body(input_ids=torch.tensor([[2, 5, 6, 3, 7, 3]])).last_hidden_state[0, -1]
    ours = backbone(batch)[0][batch.answer_row, batch.pool_index][0]
    torch.testing.assert_close(ours, stock, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "opt"])
def test_nothing_is_longer_than_the_learned_positions(name: str) -> None:
    backbone = Backbone(learned_positions(name).eval(), tiny_tokenizer(chat=False))
    assert backbone.max_positions == LONGEST
    encoder = make_encoder(backbone, None)
    encoded = encoder.encode(record("How many circles are there? " * 30))
    longest = len(encoded.prompt_ids) + max(map(len, encoded.answer_ids))
    assert encoded.cut > 0 and longest == LONGEST
    backbone(Collate(encoder, "separate").batch([encoded]))  # an IndexError if it were longer
    with pytest.raises(RecordError, match=f"max_length={LONGEST}"):
        encoder.encode(record("x", answers=("no. " * 60, "yes")))


@pytest.mark.parametrize(("asked", "given"), [(None, 1024), (4096, 1024), (128, 128)])
def test_the_shorter_of_setting_and_positions_counts(asked: int | None, given: int) -> None:
    assert make_encoder(tiny_backbone("gpt2"), asked).max_length == given


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"gpt2"}))
def test_rotary_positions_have_no_end(family: str) -> None:
    assert tiny_backbone(family).max_positions is None
