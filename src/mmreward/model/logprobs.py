"""Log-probabilities of answers, from states and the output embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from mmreward.data.prefix import PrefixBatch


def answer_logprobs(
    states: Tensor, output_embedding: Tensor, batch: PrefixBatch, chunk: int = 1024
) -> Tensor:
    """(N,) float32: log π(answer | prompt), the sum over the answer's tokens with its turn-end.

    states:           (B, L, H), last layer
    output_embedding: (V, H), the language model head's weight

    Each target is predicted from the state `batch.predict_from` names, so the first token of
    every branch reads the last token of the prefix. Vocabulary logits exist for `chunk` targets
    at a time only: (B, L, V) never does.
    """
    rows = batch.answer_row[batch.target_answer]
    targets = batch.input_ids[rows, batch.target_index]
    sources = states[rows, batch.predict_from]
    parts = []
    for part_states, part_targets in zip(sources.split(chunk), targets.split(chunk), strict=True):
        logits = (part_states @ output_embedding.T).float()
        parts.append(torch.log_softmax(logits, dim=-1).gather(1, part_targets[:, None])[:, 0])
    answers = torch.zeros(len(batch.answer_row), device=states.device)
    return answers.index_add(0, batch.target_answer, torch.cat(parts))
