"""Which layout a backbone can and should use: answers as branches of one prefix, or apart.

`auto` asks three questions, in this order: does the configuration rule branches out, does a small
random model of that configuration score branches as it scores separate sequences, and is one row
cheaper than K rows. The answer depends on configuration and data alone, so every rank gives the
same one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmreward.data.encoding import EncodedRecord, Encoder
from mmreward.data.prefix import Collate, Layout, PrefixBatch
from mmreward.errors import UserError
from mmreward.model.backbone import Backbone, text_config
from mmreward.records import Message, Record, Response

_VOCABULARY = 64
_VIDEO, _IMAGE, _FIRST_TEXT = 0, 1, 2

# Relative to the size of the states. Right branches differ by 1e-6 in float32, wrong positions
# by 1e-2 and more; half precision cannot tell the two apart, so the check runs in float32.
TOLERANCE = 1e-4


def decide_layout(
    wanted: str, backbone: Backbone, encoder: Encoder, sample: Sequence[Record]
) -> tuple[Layout, str]:
    """(layout, reason in a few words) for `layout=shared|separate|auto`.

    sample: a few records of the data; their lengths decide what is cheaper. Raises UserError
    for an unknown choice and for `shared` where the configuration rules it out.
    """
    if wanted not in ("shared", "separate", "auto"):
        raise UserError(f"layout={wanted} is not one of shared, separate, auto")
    if wanted == "separate":
        return "separate", "as asked"
    encoded = [encoder.encode(record) for record in sample]
    obstacle, difference = ruled_out(backbone.config) or bidirectional(backbone), 0.0
    if not obstacle:
        # A record with an image says more than one without: it has two-dimensional positions.
        probe = max(encoded, key=lambda item: (bool(item.media), -len(item.prompt_ids)))
        difference = probe_difference(backbone, encoder, probe)
        if difference == float("inf"):
            obstacle = f"{type(backbone.body).__name__} takes no mask that makes branches"
        elif difference > TOLERANCE:
            obstacle = f"branches score differently on a random model ({difference:.0e})"
    if wanted == "shared":
        if obstacle:
            raise UserError(f"layout=shared cannot work here: {obstacle}; use layout=separate")
        return "shared", "as asked"
    if obstacle:
        return "separate", obstacle
    ratio = cost_ratio(backbone.config, encoded)
    if ratio > 1.0:
        return "separate", f"short prompts, long answers: sharing would cost {ratio:.2f} of it"
    return "shared", f"about {ratio:.2f} of the cost of separate rows, checked to {difference:.0e}"


def ruled_out(config: Any) -> str | None:
    """What in a configuration makes branches of one row impossible, or None."""
    text = text_config(config)
    if getattr(config, "is_encoder_decoder", False):
        return "an encoder-decoder has no causal prefix"
    if set(getattr(text, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return (
            "some layers are not full attention (" + ", ".join(sorted(set(text.layer_types))) + ")"
        )
    # GPT-Neo's name for it. Records shorter than the window would not show it.
    if "local" in getattr(text, "attention_layers", ()):
        return f"some layers attend within {text.window_size} tokens alone"
    if getattr(text, "sliding_window", None):
        return f"attention slides over a window of {text.sliding_window} tokens"
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") in ("dynamic", "longrope"):
        return f"{rope['rope_type']} rotary positions depend on the row's length"
    implementation = text._attn_implementation
    if implementation not in ("sdpa", "eager", None):
        return f"{implementation} takes no mask of its own; sdpa and eager do"
    return None


def bidirectional(backbone: Backbone) -> str | None:
    """What makes branches impossible if tokens see those after them, or None.

    No configuration says it of every architecture, so a small random model is asked: whether
    earlier states move when the last token is exchanged. Causal ones stay bit for bit.
    """
    body = small_body(backbone)
    if body is None:
        return None
    ids = torch.full((1, 8), _FIRST_TEXT)
    changed = ids.clone()
    changed[0, -1] += 1
    with torch.no_grad():
        before, after = (body(input_ids=x).last_hidden_state[0, :-1] for x in (ids, changed))
    return None if torch.equal(before, after) else "tokens see those after them"


def small_body(backbone: Backbone) -> Any | None:
    """A 2-layer float32 random model of the backbone's configuration at its full width, with a
    vocabulary of 64; None where the architecture cannot be built that small."""
    config = small_config(backbone.config)
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        return type(backbone.body)(config).float().eval()
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    finally:
        torch.set_rng_state(generator_state)


def probe_difference(backbone: Backbone, encoder: Encoder, encoded: EncodedRecord) -> float:
    """Largest difference of the answers' states, branches against separate sequences with the
    model's own positions, relative to their size; inf where the architecture refuses.

    The record keeps its images and lengths and gets K >= 3 answers: with two, a branch that
    wrongly sees its neighbour can go unnoticed.
    """
    body = small_body(backbone)
    if body is None:
        return float("inf")
    small = Backbone(body, backbone.tokenizer, backbone.processor)

    answers = [*encoded.answer_ids, list(reversed(encoded.answer_ids[0]))]
    placeholder = Record(
        messages=(Message("user", ("x",)),),
        responses=tuple(Response("x", k) for k in range(len(answers))),
    )
    item = EncodedRecord(
        placeholder,
        [_small_id(i, t) for i, t in zip(encoded.prompt_ids, encoded.prompt_types, strict=True)],
        encoded.prompt_types,
        [[_small_id(i, 0) for i in answer] for answer in answers],
        encoded.media,
    )
    with torch.no_grad():
        shared = _in_vocabulary(Collate(encoder, "shared").batch([item]))
        rows = _in_vocabulary(Collate(encoder, "separate").batch([item]))
        try:
            ours = small(shared)[0][shared.answer_row, shared.pool_index]
        except (RuntimeError, TypeError, ValueError):  # it takes no mask of its own (ALiBi)
            return float("inf")
        kwargs: dict[str, Any] = dict(rows.media)
        if rows.media:
            kwargs["mm_token_type_ids"] = rows.mm_token_type_ids
        stock: Tensor = body(
            input_ids=rows.input_ids, attention_mask=(rows.segment_ids >= 0).long(), **kwargs
        ).last_hidden_state[rows.answer_row, rows.pool_index]
    return float((ours - stock).abs().max() / stock.abs().max())


def _in_vocabulary(batch: PrefixBatch) -> PrefixBatch:
    """The batch with padding, and an image that idles in it, under the small model's ids."""
    ids = batch.input_ids.where(batch.segment_ids >= 0, torch.tensor(_VIDEO))
    return replace(batch, input_ids=ids.where(batch.mm_token_type_ids == 0, torch.tensor(_IMAGE)))


def _small_id(token: int, token_type: int) -> int:
    return _IMAGE if token_type else _FIRST_TEXT + token % (_VOCABULARY - _FIRST_TEXT)


def small_config(config: Any) -> Any:
    """The same architecture with two layers at most and 64 tokens."""
    small = copy.deepcopy(config)
    text = text_config(small)
    for part in {id(part): part for part in (small, text)}.values():
        for name in list(part.to_dict()):
            if name.endswith(("_token_id", "_token_index")):
                setattr(part, name, _IMAGE if name.startswith("image") else _VIDEO)
    text.vocab_size = _VOCABULARY
    text.num_hidden_layers = min(2, text.num_hidden_layers)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:2]
    vision = getattr(small, "vision_config", None)
    if vision is not None:
        for name in ("depth", "num_hidden_layers"):
            if hasattr(vision, name):
                depth = min(2, getattr(vision, name))
                setattr(vision, name, depth)
                for indexes in ("fullatt_block_indexes", "deepstack_visual_indexes"):
                    if hasattr(vision, indexes):
                        setattr(vision, indexes, list(range(depth)))
    return small


def cost_ratio(config: Any, encoded: Sequence[EncodedRecord]) -> float:
    """Multiplications of the language model, one shared row over K separate rows.

    Per layer a token costs 24·h² and a pair of tokens 4·h (Kaplan et al., arXiv:2001.08361,
    appendix B, with attention's quadratic part kept). A dense mask pays for every pair of the
    row, masked or not. The vision tower's saving, which is always on the side of sharing, is
    left out.
    """
    hidden = text_config(config).hidden_size

    def cost(lengths: list[int]) -> float:
        return sum(24.0 * hidden**2 * n + 4.0 * hidden * n**2 for n in lengths)

    shared = separate = 0.0
    for item in encoded:
        prompt, answers = len(item.prompt_ids), [len(a) for a in item.answer_ids]
        shared += cost([prompt + sum(answers)])
        separate += cost([prompt + answer for answer in answers])
    return shared / separate
