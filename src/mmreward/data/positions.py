"""Position ids of a prompt, so that its answers can start right after it.

Qwen2-VL's multimodal rotary embedding (M-RoPE, arXiv:2409.12191 section 2.1) gives a text token
one number on all three axes (time, height, width) and an image token its frame, row and column,
counted from where the image starts. The text after an image starts at the *largest* position
used so far plus one, which is less than the token count: a 16x16-token image advances the
position by 16, not by 256. Answers that start at the token count instead score differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor


def linear_positions(length: int) -> Tensor:
    """(1, length): 0, 1, 2, … for backbones with one position axis."""
    return torch.arange(length).unsqueeze(0)


def mrope_positions(token_types: Sequence[int], grid_thw: Tensor | None, merge_size: int) -> Tensor:
    """(3, length) M-RoPE positions of one prompt.

    token_types: one a token, 0 for text, 1 for image tokens
    grid_thw:    (images, 3) frames, rows and columns of *patches*, in the prompt's order
    merge_size:  patches merged into one token along each spatial axis (2 for Qwen2-VL)

    Equals transformers' `get_rope_index` on prompts with images (Qwen2-VL, Qwen2.5-VL, Qwen3-VL);
    the tests hold it to that. Written out here because a collate function, run in data workers,
    has no model to ask.
    """
    parts: list[Tensor] = []
    start = 0
    images = iter([] if grid_thw is None else grid_thw.tolist())
    for is_image, tokens in groupby(token_types):
        remaining = len(list(tokens))
        if not is_image:
            parts.append((torch.arange(remaining) + start).expand(3, remaining))
            start += remaining
        while is_image and remaining > 0:  # images may touch, without a token between them
            frames, rows, columns = next(images)
            rows, columns = rows // merge_size, columns // merge_size
            axes = (torch.arange(frames), torch.arange(rows), torch.arange(columns))
            grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
            parts.append(grid.reshape(3, -1) + start)
            start += max(frames, rows, columns)
            remaining -= frames * rows * columns
    return torch.cat(parts, dim=1) if parts else torch.zeros(3, 0, dtype=torch.long)
