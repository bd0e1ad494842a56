"""Records and tiny random models of every family the tests hold the shared layout to."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image
from transformers import (
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLModel,
    Qwen2Config,
    Qwen2Model,
    Qwen2VLConfig,
    Qwen2VLModel,
    Qwen3VLConfig,
    Qwen3VLModel,
)
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from mmreward.data.encoding import Encoder
from mmreward.data.prefix import Collate, PrefixBatch
from mmreward.model.backbone import Backbone
from mmreward.model.tiny import special_token_ids, tiny_processor, tiny_tokenizer
from mmreward.records import Media, Message, Record, Response

VISION_FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
TEXT_FAMILIES = ("gpt2", "llama", "qwen2")
FAMILIES = VISION_FAMILIES + TEXT_FAMILIES

_TEXT = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    # Far above the usual 0.02, so that a wrong position or mask moves the states visibly.
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
_MROPE = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]}


def _vision_config(family: str) -> dict[str, Any]:
    common = {
        "depth": 2,
        "num_heads": 2,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "initializer_range": 0.3,
    }
    if family == "qwen2_vl":
        return {**common, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "patch_size": 14}
    out = {**common, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32}
    if family == "qwen2_5_vl":
        return {**out, "patch_size": 14, "fullatt_block_indexes": [1], "window_size": 56}
    return {
        **out,
        "patch_size": 16,
        "deepstack_visual_indexes": [0, 1],
        "num_position_embeddings": 64,
    }


@cache
def _processor(family: str) -> Any:
    base = {
        "qwen2_vl": Qwen2VLProcessor,
        "qwen2_5_vl": Qwen2_5_VLProcessor,
        "qwen3_vl": Qwen3VLProcessor,
    }[family]
    return tiny_processor(patch_size=16 if family == "qwen3_vl" else 14, base=base)


def tiny_backbone(family: str, attention: str = "sdpa", **text: Any) -> Backbone:
    """A random model of the family, about 50,000 parameters, in float32 and eval mode."""
    if family in VISION_FAMILIES:
        processor = _processor(family)
        config_class, model_class = {
            "qwen2_vl": (Qwen2VLConfig, Qwen2VLModel),
            "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLModel),
            "qwen3_vl": (Qwen3VLConfig, Qwen3VLModel),
        }[family]
        config = config_class(
            text_config={**_TEXT, "rope_parameters": dict(_MROPE), "head_dim": 8, **text},
            vision_config=_vision_config(family),
            **special_token_ids(processor.tokenizer),
        )
        config._attn_implementation = attention
        return Backbone(model_class(config), processor.tokenizer, processor).eval()
    tokenizer = tiny_tokenizer(chat=family != "gpt2")
    if family == "gpt2":
        config = GPT2Config(
            vocab_size=512, n_positions=1024, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3
        )
    else:
        config = {"llama": LlamaConfig, "qwen2": Qwen2Config}[family](**{**_TEXT, **text})
    config._attn_implementation = attention
    model = {"gpt2": GPT2Model, "llama": LlamaModel, "qwen2": Qwen2Model}[family](config)
    return Backbone(model, tokenizer).eval()


def _noise(width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def image(width: int = 56, height: int = 56, seed: int = 0) -> Media:
    """A picture of noise."""
    return Media(draw=partial(_noise, width, height, seed), key=f"noise {width}x{height} {seed}")


def record(
    *content: str | int,
    answers: tuple[str, ...] = ("It is three.", "seven"),
    ranks: tuple[int, ...] | None = None,
    media: tuple[Media, ...] = (),
    **fields: Any,
) -> Record:
    """One user turn; the answers are in order of rank unless `ranks` says otherwise."""
    ranks = ranks or tuple(range(len(answers)))
    return Record(
        messages=(Message("user", content or ("Which digit is this?",)),),
        responses=tuple(Response(a, r) for a, r in zip(answers, ranks, strict=True)),
        media=media,
        **fields,
    )


def text_records() -> list[Record]:
    """K = 2, 3, 4, unequal lengths, a long answer beside a short one, several turns."""
    return [
        record("How many circles are there?"),
        record("Odd or even?", answers=("odd", "It is even. " * 6, "no")),
        record("x", answers=("a", "bb", "I count four.", "dd"), ranks=(1, 0, 1, 2)),
        Record(
            messages=(
                Message("user", ("Name this digit.",)),
                Message("assistant", ("It is two.",)),
                Message("user", ("Odd or even?",)),
            ),
            responses=(Response("even", 0), Response("It is odd.", 1)),
        ),
    ]


def image_records() -> list[Record]:
    """One image, two of different sizes, image last, image between texts, K = 2, 3, 4."""
    wide, tall, small = image(112, 56, 1), image(56, 140, 2), image(56, 56, 3)
    return [
        record(0, "Which digit is this?", media=(small,)),
        record(0, 1, "What differs?", media=(wide, tall), answers=("all", "It is red.", "none")),
        record("Look: ", 0, media=(tall,), answers=("one", "two. " * 9, "three", "four")),
        record("Is ", 0, " left of ", 1, "?", media=(small, wide), answers=("yes", "no way")),
    ]


def family_records(family: str) -> list[Record]:
    """What a family is tested on: text for all, images and mixed batches where it sees them."""
    return text_records() + (image_records() if family in VISION_FAMILIES else [])


def text_batch(*records: Record) -> PrefixBatch:
    """Records without images as a batch, for what needs no model."""
    return Collate(Encoder(tiny_tokenizer()))(records)
