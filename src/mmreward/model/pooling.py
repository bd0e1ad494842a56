"""Poolings: token states -> one vector per answer.

A pooling is built with the hidden size H and the number of layers of the backbone. It is called
with the states of the `layers` it names (a list of (B, L, H)) and the batch, and returns (N, H).
Layers are numbered as transformers numbers hidden states: 0 the embeddings, i the output of
layer i, the last one (-1) after the final norm.

The turn-end token is the "last token" of an answer; poolings over the answer's tokens leave it
out, since it is the same for every answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from mmreward.data.prefix import PrefixBatch


class LastToken(nn.Module):
    """The state of the token that closes the answer, the only one that has seen all of it."""

    layers: Sequence[int] = (-1,)

    def __init__(self, hidden_size: int, num_layers: int) -> None:
        super().__init__()

    def forward(self, states: list[Tensor], batch: PrefixBatch) -> Tensor:
        return last_token(states[-1], batch)


class Mean(nn.Module):
    """The mean of the answer's token states."""

    layers: Sequence[int] = (-1,)

    def __init__(self, hidden_size: int, num_layers: int) -> None:
        super().__init__()

    def forward(self, states: list[Tensor], batch: PrefixBatch) -> Tensor:
        answer, tokens = answer_tokens(states[-1], batch)
        count = torch.bincount(answer, minlength=len(batch.answer_row))
        return sum_per_answer(tokens / count[answer, None], answer, batch)


class Attention(nn.Module):
    """The mean of the answer's token states, weighted by softmax(query·state / √H).

    The softmax runs over the answer's own tokens. The learned query starts at zero: the first
    step is the plain mean. After Lin et al. (arXiv:1703.03130), with one query.
    """

    layers: Sequence[int] = (-1,)

    def __init__(self, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, states: list[Tensor], batch: PrefixBatch) -> Tensor:
        answer, tokens = answer_tokens(states[-1], batch)
        # Not a matrix product: autocast would compute that in half precision.
        logits = (tokens * self.query.float()).sum(-1) / tokens.shape[-1] ** 0.5
        nothing = logits.new_zeros(len(batch.answer_row))
        largest = nothing.scatter_reduce(0, answer, logits.detach(), "amax", include_self=False)
        weights = torch.exp(logits - largest[answer])
        total = nothing.index_add(0, answer, weights)
        return sum_per_answer(tokens * (weights / total[answer])[:, None], answer, batch)


class Fusion(nn.Module):
    """The last-token states of several layers, mixed with softmax-normalised learned weights.

    layers: which ones; null takes the last four and the middle one, of as many as there are

    A scalar mix as in ELMo (Peters et al., arXiv:1802.05365). Inner layers come before the final
    norm and differ in size by orders of magnitude, so each state is scaled to a root mean square
    of 1 first; otherwise the weights would say nothing about use.

    Raises ValueError for a layer the backbone does not have and for one named twice.
    """

    def __init__(
        self, hidden_size: int, num_layers: int, layers: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.layers: Sequence[int] = resolve_layers(layers, num_layers)
        self.mix = nn.Parameter(torch.zeros(len(self.layers)))

    def forward(self, states: list[Tensor], batch: PrefixBatch) -> Tensor:
        stacked = torch.stack([last_token(state, batch).float() for state in states])
        weights = torch.softmax(self.mix.float(), dim=0)
        return (rms_norm(stacked, stacked.shape[-1:]) * weights[:, None, None]).sum(0)


def resolve_layers(layers: Sequence[int] | None, num_layers: int) -> list[int]:
    """Layer numbers counted from the front, in ascending order.

    >>> resolve_layers(None, 28), resolve_layers(None, 3), resolve_layers([-1, 14], 28)
    ([14, 25, 26, 27, 28], [1, 2, 3], [14, 28])
    """
    if layers is None:
        last_four = range(max(1, num_layers - 3), num_layers + 1)
        return sorted({max(1, num_layers // 2), *last_four})
    for layer in layers:
        if not -num_layers - 1 <= layer <= num_layers:
            raise ValueError(
                f"layers={list(layers)} names layer {layer}, but the backbone has {num_layers}"
            )
    chosen = sorted({layer % (num_layers + 1) for layer in layers})
    if not chosen or len(chosen) < len(layers):
        raise ValueError(f"layers={list(layers)} must name at least one layer, and each one once")
    return chosen


def last_token(states: Tensor, batch: PrefixBatch) -> Tensor:
    """(N, H): the states of the answers' turn-end tokens."""
    return states[batch.answer_row, batch.pool_index]


def answer_tokens(states: Tensor, batch: PrefixBatch) -> tuple[Tensor, Tensor]:
    """(T,) answer numbers and (T, H) float32 states of all answers' tokens without turn-end.

    Flat instead of padded: the answers of a shared row would each repeat the whole row.
    """
    inside = batch.segment_ids[batch.answer_row] == batch.answer_segment[:, None]
    inside = inside.scatter(1, batch.pool_index[:, None], False)
    answer, position = inside.nonzero(as_tuple=True)
    return answer, states[batch.answer_row[answer], position].float()


def sum_per_answer(tokens: Tensor, answer: Tensor, batch: PrefixBatch) -> Tensor:
    """(T, H) token vectors -> (N, H) sums; zeros for an answer without tokens."""
    sums = tokens.new_zeros(len(batch.answer_row), tokens.shape[-1])
    return sums.index_add(0, answer, tokens)
