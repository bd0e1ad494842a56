"""FSDP as this project needs it; DDP is Lightning's own."""

from __future__ import annotations

import re
from functools import partial

import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.distributed.fsdp import MixedPrecision
from torch.distributed.fsdp.wrap import _or_policy, lambda_auto_wrap_policy

# Transformer blocks by the names transformers gives them: Qwen2VLDecoderLayer, Qwen2VLVisionBlock,
# GPT2Block, BertLayer. By name, so that no model need be imported to configure a trainer.
_BLOCK = re.compile(r"(DecoderLayer|EncoderLayer|VisionBlock|Block|BertLayer)$")

_DTYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16, "32-true": torch.float32}


def _is_block(module: nn.Module) -> bool:
    return _BLOCK.search(type(module).__name__) is not None


def _is_trained_leaf(module: nn.Module) -> bool:
    """LoRA matrices and the head get units of their own: a unit holds one dtype, and frozen and
    trained parameters in one unit keep gradient memory for both."""
    weight = getattr(module, "weight", None)
    return not list(module.children()) and weight is not None and weight.requires_grad


def fsdp(precision: str) -> FSDPStrategy:
    """Fully sharded data parallel over transformer blocks (Zhao et al., arXiv:2304.11277).

    precision: the trainer's. Buffers stay in float32 whatever it is: Lightning's default would
    cast the rotary embedding's `inv_freq` to half precision without a word, and positions past
    a thousand would lose their meaning. Checkpoints are whole files that load anywhere.

    Raises ValueError for a precision this was not made for.
    """
    if precision not in _DTYPES:
        raise ValueError(f"precision={precision} is not one of {', '.join(_DTYPES)}")
    policies = [
        partial(lambda_auto_wrap_policy, lambda_fn=_is_block),
        partial(lambda_auto_wrap_policy, lambda_fn=_is_trained_leaf),
    ]
    return FSDPStrategy(
        auto_wrap_policy=partial(_or_policy, policies=policies),
        mixed_precision=MixedPrecision(
            param_dtype=_DTYPES[precision], reduce_dtype=torch.float32, buffer_dtype=torch.float32
        ),
        state_dict_type="full",
        sync_module_states=True,
    )
