"""PrefixBatch: every prompt once, its answers as branches of it.

    tokens    [ image + prompt | answer 1 | answer 2 | … | pad ]
    segment   [        0       |    1     |    2     | … | -1  ]
    position  [ 0 … P-1        | P …      | P …      | … |  0  ]
    token i sees token j  iff  j <= i and (segment j == 0 or segment j == segment i)

One forward pass over such a row gives the states that K separate sequences would give, with the
prompt and its images encoded once. `layout="separate"` writes the same fields with one answer a
row; it is the reference in the tests and the way for backbones that cannot be masked like this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from mmreward.data.encoding import EncodedRecord, Encoder
from mmreward.records import Record

Layout = Literal["shared", "separate"]
PADDING = -1


@dataclass
class PrefixBatch:
    """B rows of L tokens hold R records with N answers, P pairs and Q ties.

    input_ids, mm_token_type_ids, segment_ids : (B, L)
    position_ids   : (B, L), or (3, B, L) for M-RoPE
    media          : the image processor's tensors, each image once (each row's images again
                     under `separate`)
    answer_row, answer_segment, pool_index : (N,) where answer n lies; `pool_index` is the
                     position of its turn-end token
    answer_record, answer_rank : (N,) its record's number and its rank there (0 best)
    target_index, predict_from, target_answer : (T,) the answers' tokens: the token at
                     `target_index` of its answer's row is predicted by the state at
                     `predict_from`. For the first token of *every* branch that is the last
                     prefix token, not the token before it.
    pairs, pair_weight, pair_margin : (P, 2) (better, worse) answers, (P,), (P,)
    ties           : (Q, 2) answers judged equal
    record_ids, record_weight : R content ids, (R,)

    Worked example (prefix p0 p1 p2; answers a0 a1 e and b0 e; the first is better)::

        input_ids    p0 p1 p2 a0 a1 e  b0 e
        segment_ids  0  0  0  1  1  1  2  2
        position_ids 0  1  2  3  4  5  3  4
        pool_index   [5, 7]              pairs [[0, 1]]
        target_index [3, 4, 5, 6, 7]     predict_from [2, 3, 4, 2, 6]
        target_answer [0, 0, 0, 1, 1]
    """

    input_ids: Tensor
    mm_token_type_ids: Tensor
    segment_ids: Tensor
    position_ids: Tensor
    media: dict[str, Tensor]
    answer_row: Tensor
    answer_segment: Tensor
    pool_index: Tensor
    answer_record: Tensor
    answer_rank: Tensor
    target_index: Tensor
    predict_from: Tensor
    target_answer: Tensor
    pairs: Tensor
    pair_weight: Tensor
    pair_margin: Tensor
    ties: Tensor
    record_ids: tuple[str, ...]
    record_weight: Tensor
    layout: Layout = "shared"
    cuts: int = 0

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PrefixBatch:
        """The same batch on another device (Lightning calls this)."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PrefixBatch:
        """The same batch in page-locked memory (DataLoader calls this)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function) -> PrefixBatch:  # type: ignore[no-untyped-def]
        changed = {
            f.name: function(getattr(self, f.name))
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        media = {name: function(tensor) for name, tensor in self.media.items()}
        return replace(self, media=media, **changed)


@dataclass
class _Row:
    """One row while it is being laid out."""

    ids: list[int]
    types: list[int]
    segments: list[int]
    positions: Tensor  # (axes, length so far)

    def append(self, tokens: list[int], segment: int, start: int) -> int:
        """Adds a branch whose positions begin at `start`; returns the index of its first token."""
        first = len(self.ids)
        self.ids += tokens
        self.types += [0] * len(tokens)
        self.segments += [segment] * len(tokens)
        axes = self.positions.shape[0]
        branch = (torch.arange(len(tokens)) + start).expand(axes, len(tokens))
        self.positions = torch.cat([self.positions, branch], dim=1)
        return first


class Collate:
    """Records -> PrefixBatch; runs in data workers, needs no model.

    layout "shared" writes one row per record, "separate" one per answer.
    """

    def __init__(self, encoder: Encoder, layout: Layout = "shared") -> None:
        self.encoder = encoder
        self.layout: Layout = layout

    def __call__(self, records: Sequence[Record]) -> PrefixBatch:
        return self.batch([self.encoder.encode(record) for record in records])

    def batch(self, encoded: Sequence[EncodedRecord]) -> PrefixBatch:
        """Lays encoded records out as one batch."""
        rows: list[_Row] = []
        media: list[dict[str, Tensor]] = []
        answers: list[tuple[int, int, int, int, int]] = []  # row, segment, pool, record, rank
        targets: list[tuple[int, int, int]] = []
        pairs: list[tuple[int, int]] = []
        weights: list[float] = []
        margins: list[float] = []
        ties: list[tuple[int, int]] = []

        for number, item in enumerate(encoded):
            base = len(answers)
            prefix = self.encoder.positions(item)
            start = int(prefix.max()) + 1 if prefix.numel() else 0
            last = len(item.prompt_ids) - 1
            for k, tokens in enumerate(item.answer_ids):
                if k == 0 or self.layout == "separate":
                    rows.append(
                        _Row(
                            list(item.prompt_ids),
                            list(item.prompt_types),
                            [0] * len(item.prompt_ids),
                            prefix,
                        )
                    )
                    if item.media:
                        media.append(item.media)
                segment = 1 if self.layout == "separate" else k + 1
                first = rows[-1].append(tokens, segment, start)
                pool = first + len(tokens) - 1
                rank = item.record.responses[k].rank
                answers.append((len(rows) - 1, segment, pool, number, rank))
                for offset in range(len(tokens)):
                    source = last if offset == 0 else first + offset - 1
                    targets.append((first + offset, source, base + k))
            for pair in item.record.pairs:
                pairs.append((base + pair.better, base + pair.worse))
                weights.append(pair.weight)
                margins.append(pair.margin)
            ties += [(base + i, base + j) for i, j in item.record.ties]

        if not media and self.encoder.processor is not None:
            media.append(self._idle_image(rows[0]))

        columns = torch.tensor(answers).T
        target_columns = torch.tensor(targets).T
        return PrefixBatch(
            input_ids=_pad([torch.tensor(r.ids) for r in rows], self.encoder.pad_id),
            mm_token_type_ids=_pad([torch.tensor(r.types) for r in rows], 0),
            segment_ids=_pad([torch.tensor(r.segments) for r in rows], PADDING),
            position_ids=self._positions(rows),
            media={
                name: torch.cat([item[name] for item in media])
                for name in (media[0] if media else ())
            },
            answer_row=columns[0],
            answer_segment=columns[1],
            pool_index=columns[2],
            answer_record=columns[3],
            answer_rank=columns[4],
            target_index=target_columns[0],
            predict_from=target_columns[1],
            target_answer=target_columns[2],
            pairs=torch.tensor(pairs, dtype=torch.long).reshape(-1, 2),
            pair_weight=torch.tensor(weights, dtype=torch.float32),
            pair_margin=torch.tensor(margins, dtype=torch.float32),
            ties=torch.tensor(ties, dtype=torch.long).reshape(-1, 2),
            record_ids=tuple(item.record.id for item in encoded),
            record_weight=torch.tensor([item.record.weight for item in encoded]),
            layout=self.layout,
            cuts=sum(item.cut > 0 for item in encoded),
        )

    def _idle_image(self, row: _Row) -> dict[str, Tensor]:
        """Puts the smallest image into a row's padding.

        Without it the vision tower of a rank whose batch has no image stays idle, and the
        collectives of FSDP and DDP wait for it forever. As padding (segment -1) nothing attends
        to its tokens: scores are untouched and the tower's gradients are exact zeros.
        """
        media, tokens = self.encoder.dummy_image()
        first = row.append(tokens, PADDING, 0)
        row.types[first:] = [int(token == self.encoder.image_token_id) for token in tokens]
        return media

    def _positions(self, rows: list[_Row]) -> Tensor:
        padded = _pad([r.positions.T for r in rows], 0)  # (B, L, axes)
        return padded.permute(2, 0, 1) if self.encoder.merge_size is not None else padded[..., 0]


def _pad(rows: list[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
