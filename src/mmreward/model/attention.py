"""The mask that makes answers branches of one prefix."""

from __future__ import annotations

import torch
from torch import Tensor


def prefix_mask(segment_ids: Tensor) -> Tensor:
    """(B, L) segments -> (B, 1, L, L) bool, True where row i may look at column j.

    A token sees what comes before it in the prefix (segment 0) and in its own branch. Padding
    sees itself only: a row without a single visible column would be NaN under softmax.
    """
    length = segment_ids.shape[1]
    index = torch.arange(length, device=segment_ids.device)
    causal = index[None, :] <= index[:, None]
    column = segment_ids[:, None, :]
    visible = causal & ((column == 0) | (column == segment_ids[:, :, None])) & (column >= 0)
    return (visible | torch.eye(length, dtype=torch.bool, device=visible.device)).unsqueeze(1)


def as_additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Bool mask to the additive form eager attention needs.

    transformers adds whatever it is given to the attention logits; a bool mask would be added
    as 0 and 1 and mask nothing, without an error.
    """
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(
        ~mask, torch.finfo(dtype).min
    )
