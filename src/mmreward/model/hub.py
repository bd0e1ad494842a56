"""Pretrained backbones from the Hugging Face hub or a folder in its layout.

Only the body is built: `AutoModel` on a checkpoint with a language-model head gives the model
without it, so no logits over the vocabulary are ever computed. Code that a checkpoint may bring
along is not run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import AutoModel
from transformers.pytorch_utils import Conv1D

from mmreward.errors import UserError
from mmreward.model.backbone import Backbone
from mmreward.model.processor import load_processor

TUNINGS = ("lora", "full", "frozen")
DTYPES = ("auto", "float32", "bfloat16", "float16")

# self_attn (Llama, Qwen), attn (GPT-2), attention (BERT, GPT-NeoX): a part of the path says it.
_ATTENTION = re.compile(r"(^|\.)\w*att(n|ention)\w*\.")


def hf(
    path: str,
    revision: str | None = None,
    tuning: str = "lora",
    freeze_vision: bool = True,
    lora_r: int = 8,
    lora_alpha: int = 16,
    lora_dropout: float = 0.05,
    attention: str = "sdpa",
    dtype: str = "auto",
    gradient_checkpointing: bool = False,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    resize_embeddings: bool = False,
) -> Backbone:
    """A pretrained decoder (language or vision-language) or bidirectional encoder.

    path:          hub id, or folder with config.json, weights, tokenizer and, for images, processor
    revision:      branch, tag or commit of a hub id
    tuning:        of the language model. lora: low-rank updates of its attention's projections
                   (Hu et al., arXiv:2106.09685); full: every weight outside the vision tower;
                   frozen: none, the head alone learns
    freeze_vision: the vision tower stays as it is; if not, it is trained whole
    lora_r, lora_alpha, lora_dropout: rank, scale (updates count alpha / r times) and dropout
    attention:     transformers' implementation; sdpa and eager can share prompts, others cannot
    dtype:         of weights that are not trained; auto is the checkpoint's own. Trained weights
                   are float32 always: steps of 5e-6 are below half precision's resolution
    gradient_checkpointing: compute blocks again on the way back instead of keeping their states
    min_pixels, max_pixels: images are scaled to an area within; None keeps the processor's own
    resize_embeddings: tokens without an embedding get the mean of all others, which only
                   tuning=full then trains

    An adapter (PEFT) is merged into the base that it names.

    Raises UserError if nothing is found at `path`, weights of the body are missing in it, it
    sees images but has no processor, its tokenizer knows tokens that have no embedding, or a
    setting is none of those above.
    """
    if tuning not in TUNINGS:
        raise UserError(f"model.backbone.tuning={tuning} is not one of {', '.join(TUNINGS)}")
    if dtype not in DTYPES:
        raise UserError(f"model.backbone.dtype={dtype} is not one of {', '.join(DTYPES)}")
    body, not_read = _load_body(path, revision, attention, dtype)
    try:
        tokenizer, processor = load_processor(path, revision, min_pixels, max_pixels)
    except (OSError, ValueError) as error:
        raise UserError(
            f"model.backbone.path={path} has no tokenizer or processor that loads "
            f"({_first_line(error)}); put the files of the original model beside its weights"
        ) from error
    # Without its files transformers makes one that knows special tokens and nothing else.
    if len(tokenizer) <= len(tokenizer.added_tokens_decoder):
        raise UserError(
            f"model.backbone.path={path} has no tokenizer; put the files of the original model "
            "beside its weights"
        )
    tower = vision_tower(body)
    if tower is not None and processor is None:
        raise UserError(
            f"model.backbone.path={path} sees images but has no processor files; put "
            "preprocessor_config.json of the original model beside its weights"
        )
    fit_embeddings(body, tokenizer, path, resize_embeddings)
    body.train()  # from_pretrained leaves it in eval mode, without dropout and checkpointing
    body.requires_grad_(tuning == "full")
    if tuning == "frozen":
        body.eval()
    if tower is not None:
        tower.requires_grad_(not freeze_vision).train(not freeze_vision)
    if tuning == "lora":
        add_lora(body, lora_r, lora_alpha, lora_dropout)
    for parameter in body.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if gradient_checkpointing:
        body.activation_checkpointing_enable({"use_reentrant": False})
        # transformers makes the embeddings require gradients, which only the reentrant kind needs
        # and for which a frozen vision tower would keep all its states and run backwards.
        body.disable_input_require_grads()
    return Backbone(body, tokenizer, processor, path, not_read)


def _load_body(
    path: str, revision: str | None, attention: str, dtype: str
) -> tuple[Any, list[str]]:
    """(the body, names of the checkpoint's tensors that it has no place for). The output embedding
    is none of these: no model here of this kind reads it."""
    try:
        body, report = AutoModel.from_pretrained(
            path,
            revision=revision or "main",
            attn_implementation=attention,
            dtype=dtype,
            output_loading_info=True,
        )
    except ImportError as error:
        raise UserError(
            f"model.backbone.attention={attention} needs a package that is not installed "
            f"({_first_line(error)}); use sdpa"
        ) from error
    except (OSError, ValueError) as error:
        if "scaled_dot_product_attention" in str(error):
            raise UserError(
                f"model.backbone.path={path} computes attention in a way of its own; use "
                "model.backbone.attention=eager"
            ) from error
        where = "this folder" if Path(path).is_dir() else "a folder or on the hub"
        raise UserError(
            f"model.backbone.path={path}: no model could be loaded from {where} "
            f"({_first_line(error)}); give a folder with config.json and weights, or a hub id, "
            "which without a connection or with HF_HUB_OFFLINE=1 must be in the cache already"
        ) from error
    if body.config.is_encoder_decoder:
        raise UserError(
            f"model.backbone.path={path} is an encoder-decoder ({type(body).__name__}), which "
            "reads prompt and answer apart; choose a decoder or an encoder"
        )
    # BERT's pooler makes a vector nobody reads here; trained, it would be the parameter without
    # a gradient that stops DDP, and checkpoints with a language-model head lack it.
    missing = sorted(n for n in report["missing_keys"] if not n.startswith("pooler."))
    if getattr(body, "pooler", None) is not None:
        body.pooler = None
    if missing:
        raise UserError(
            f"model.backbone.path={path} lacks {len(missing)} weights of {type(body).__name__}, "
            f"{missing[0]} first; they would be random"
        )
    not_read = [name for name in report["unexpected_keys"] if not name.startswith("lm_head.")]
    merge_adapters(body)
    return body, sorted(not_read)


def merge_adapters(body: Any) -> None:
    """Adds to weights what LoRA layers that came with a checkpoint add to them, in place."""
    for name, module in list(body.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(body.get_submodule(parent), own, module.get_base_layer())
    if hasattr(body, "peft_config"):  # else peft takes LoRA that is added for a second adapter
        del body.peft_config


def fit_embeddings(body: Any, tokenizer: Any, path: str, resize: bool) -> None:
    """Sees to it that every token a text can have has an embedding: padding is never looked at.

    Raises UserError where one has none, unless `resize`.
    """
    rows = body.get_input_embeddings().num_embeddings
    ids = [i for token, i in tokenizer.get_vocab().items() if token != tokenizer.pad_token]
    if max(ids) < rows:
        return
    if not resize:
        raise UserError(
            f"model.backbone.path={path}: the tokenizer knows tokens up to {max(ids)}, the model "
            f"has embeddings for {rows}; give the tokenizer that belongs to it, or "
            "model.backbone.resize_embeddings=true to add rows, which only tuning=full trains"
        )
    body.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    # The same every time: a bundle of a model whose embeddings are not trained does not hold them.
    with torch.no_grad():
        weight = body.get_input_embeddings().weight
        weight[rows:] = weight[:rows].float().mean(0).to(weight.dtype)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def vision_tower(body: Any) -> nn.Module | None:
    """The part that turns pixels into states, or None if the configuration has no such part."""
    if getattr(body.config, "vision_config", None) is None:
        return None
    tower = body.get_encoder(modality="image")
    if tower is body:
        raise UserError(f"{type(body).__name__} does not say which part of it is the vision tower")
    return tower


def attention_projections(body: Any) -> dict[str, nn.Module]:
    """Linear maps in the language model's attention by name: q, k, v, o or what stands for them.

    Found by place, not by model: every linear layer below a module whose name says attention,
    within the decoder (the body itself where there is nothing else) and outside a vision tower.
    """
    language, tower = body.get_decoder(), vision_tower(body)
    inside = {id(module) for module in language.modules()}
    inside -= {id(module) for module in tower.modules()} if tower is not None else set()
    return {
        name: module
        for name, module in body.named_modules()
        if id(module) in inside
        and isinstance(module, nn.Linear | Conv1D)
        and _ATTENTION.search(name)
    }


def add_lora(body: Any, r: int, alpha: int, dropout: float) -> None:
    """Puts LoRA on every `attention_projections` of the body, in place.

    The body keeps its class and signature; its own weights must be frozen already. Raises
    UserError where no attention is found.
    """
    found = attention_projections(body)
    if not found:
        raise UserError(
            f"no attention projections found in {type(body).__name__} for LoRA; use "
            "model.backbone.tuning=full or frozen"
        )
    trained = [parameter for parameter in body.parameters() if parameter.requires_grad]
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules="|".join(map(re.escape, found)),
        # GPT-2's Conv1D keeps its weight transposed.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in found.values()),
    )
    inject_adapter_in_model(config, body)
    for parameter in trained:  # peft freezes all but its own, a trained vision tower too
        parameter.requires_grad_(True)
