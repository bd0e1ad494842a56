"""A transformers body that reads PrefixBatches: no vocabulary logits, states only."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmreward.data.prefix import PrefixBatch
from mmreward.errors import UserError
from mmreward.model.attention import as_additive, prefix_mask
from mmreward.model.identity import identity

# wpe (GPT-2), position_embeddings (BERT), embed_positions (OPT)
_POSITIONS = re.compile(r"(^|\.)(wpe|position_embeddings|embed_positions)$")


def text_config(config: Any) -> Any:
    """The language model's part of a transformers configuration."""
    return config.get_text_config()


def mrope_merge_size(config: Any) -> int | None:
    """Patches merged per token and axis if the model uses M-RoPE, else None."""
    rope = getattr(text_config(config), "rope_parameters", None) or {}
    if "mrope_section" not in rope:
        return None
    return int(config.vision_config.spatial_merge_size)


class Backbone(nn.Module):
    """Wraps a transformers model without its output head.

    body:      e.g. Qwen2VLModel, Qwen2Model, GPT2Model (what AutoModel gives)
    tokenizer: its fast tokenizer
    processor: its processor if it sees images, else None
    path:      where the pretrained weights come from; None for random weights. A bundle saves
               every weight of the latter and only the trained ones of the former.
    not_read:  tensors of the checkpoint that have no place in the body, such as a reward head
    """

    def __init__(
        self,
        body: nn.Module,
        tokenizer: Any,
        processor: Any | None = None,
        path: str | None = None,
        not_read: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.body = body
        self.tokenizer = tokenizer
        self.processor = processor
        self.path = path
        self.not_read = tuple(not_read)
        self._accepts = set(inspect.signature(body.forward).parameters)

    @property
    def config(self) -> Any:
        """The transformers configuration of the body."""
        return self.body.config

    @property
    def base(self) -> str | None:
        """Which pretrained weights it stands on (see `identity`); None for random ones."""
        commit = getattr(self.config, "_commit_hash", None)
        return None if self.path is None else identity(self.path, commit)

    @property
    def rows(self) -> int:
        """Tokens that have an embedding."""
        body: Any = self.body
        return int(body.get_input_embeddings().num_embeddings)

    @property
    def hidden_size(self) -> int:
        """Width of the states."""
        return int(text_config(self.config).hidden_size)

    @property
    def num_layers(self) -> int:
        """Layers of the language model."""
        return int(text_config(self.config).num_hidden_layers)

    @property
    def merge_size(self) -> int | None:
        """See `mrope_merge_size`."""
        return mrope_merge_size(self.config)

    @property
    def max_positions(self) -> int | None:
        """Most tokens of a sequence where the language model has a learned vector for every
        position (GPT-2, BERT); None where positions are computed (rotary)."""
        body: Any = self.body
        if getattr(text_config(body.config), "rope_parameters", None):
            return None
        for name, module in body.get_decoder().named_modules():
            if isinstance(module, nn.Embedding) and _POSITIONS.search(name):
                # RoBERTa keeps the rows up to its padding token's for padding, OPT the first two.
                reserved = -1 if module.padding_idx is None else module.padding_idx
                return module.num_embeddings - reserved - 1 - getattr(module, "offset", 0)
        return None

    def forward(self, batch: PrefixBatch, layers: Sequence[int] = (-1,)) -> list[Tensor]:
        """States (B, L, hidden) of the asked layers, -1 being the last one after its norm."""
        inputs: dict[str, Any] = {
            "input_ids": batch.input_ids,
            "attention_mask": self._mask(batch),
            "use_cache": False,
            **batch.media,
        }
        # A plain row has the positions the model counts itself, which need not begin at 0
        # (RoBERTa's begin after its padding token's id).
        if batch.layout == "shared" or self.merge_size is not None:
            inputs["position_ids"] = batch.position_ids
        # Qwen2.5-VL falls back to one-axis positions, without an error, if these are missing.
        if batch.media:
            inputs["mm_token_type_ids"] = batch.mm_token_type_ids
        inputs = {name: value for name, value in inputs.items() if name in self._accepts}
        if tuple(layers) == (-1,):
            return [self.body(**inputs).last_hidden_state]
        output = self.body(**inputs, output_hidden_states=True)
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        return [states[layer] for layer in layers]

    def _mask(self, batch: PrefixBatch) -> Tensor:
        if batch.layout == "separate":
            return (batch.segment_ids >= 0).long()
        mask = prefix_mask(batch.segment_ids)
        implementation = text_config(self.config)._attn_implementation
        if implementation == "sdpa":
            return mask
        if implementation == "eager":
            return as_additive(mask, next(self.body.parameters()).dtype)
        raise UserError(
            f"attention implementation {implementation} cannot branch a prefix; use sdpa or "
            "eager, or layout=separate"
        )


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """(trainable, total) numbers of parameters."""
    total = sum(p.numel() for p in module.parameters())
    return sum(p.numel() for p in module.parameters() if p.requires_grad), total
