"""Several sources as one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from mmreward.data.bad_records import BadRecord
from mmreward.data.sources.base import LazyRecords, Source, Split
from mmreward.data.transforms import Transform
from mmreward.errors import UserError
from mmreward.records import Record


class Mix(Source):
    """Mixes the training records of several sources; held-out records are put one after another.

    sources: name -> source
    weights: name -> how often a training record comes from it, relative to the others. In an
             epoch every record occurs at least once; the lighter a source is for its weight, the
             more often its records are repeated. None: every record exactly once.
    name:    of the data in reports; the sources' names joined if None

    Training records are interleaved evenly, in an order that is always the same: any stretch of
    it holds the sources in proportion. Sources take turns by whole blocks: `block` is the least
    common multiple of theirs. Raises UserError for weights that do not name the sources
    or are not above 0.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        weights: Mapping[str, float] | None = None,
        name: str | None = None,
    ) -> None:
        self.sources = list(sources.values())
        if weights is not None and not _are_weights(weights, sources):
            raise UserError(
                f"data.source.weights must give each of {', '.join(sources)} a number above 0, "
                f"not {weights}"
            )
        self.weights = None if weights is None else [float(weights[key]) for key in sources]
        self.name = name or "+".join(source.name for source in self.sources)

        self.block = math.lcm(*(source.block for source in self.sources))

    def through(self, transform: Transform) -> Self:
        other = super().through(transform)
        other.sources = [source.through(transform) for source in self.sources]
        return other

    def records(self, split: Split) -> Sequence[Record]:
        parts = [source.records(split) for source in self.sources]
        lengths = [len(part) for part in parts]
        if split == "train":
            weights = self.weights or [float(n) for n in lengths]
            order = interleave(lengths, weights, [source.block for source in self.sources])
        else:
            order = np.array(
                [(s, i) for s, length in enumerate(lengths) for i in range(length)]
            ).reshape(-1, 2)
        return LazyRecords(len(order), partial(_pick, parts, order))

    @property
    def bad_records(self) -> list[BadRecord]:
        return [bad for source in self.sources for bad in source.bad_records]

    @property
    def unread_columns(self) -> list[str]:
        return [f"{one.name}: {column}" for one in self.sources for column in one.unread_columns]


def _are_weights(weights: Any, sources: Mapping[str, Source]) -> bool:
    if not isinstance(weights, Mapping) or set(weights) != set(sources):
        return False
    return all(
        isinstance(w, int | float) and not isinstance(w, bool) and 0 < w < math.inf
        for w in weights.values()
    )


def _pick(parts: Sequence[Sequence[Record]], order: np.ndarray, number: int) -> Record:
    source, record = order[number]
    return parts[source][int(record)]


def interleave(
    lengths: Sequence[int], weights: Sequence[float], blocks: Sequence[int] | None = None
) -> np.ndarray:
    """(n, 2) source and record: the order in which sources take turns.

    blocks: how many consecutive records of each source stay together; None: 1 each

    Source s gives n·w_s/Σw of the records, made up to whole blocks, where n is the least for
    which every record of every source occurs. A turn is as many records as all blocks divide; the
    k-th of a source stands where (k + ½)/w_s falls among those of the others. Records that fill no
    turn come last, those of the longest blocks first, so that none of these is divided either.

    >>> interleave([2, 4], [1.0, 2.0])[:, 0].tolist()
    [1, 0, 1, 1, 0, 1]
    """
    block = np.array(blocks or [1] * len(lengths))
    size = np.lcm.reduce(block)
    rounds = max(n / w for n, w in zip(lengths, weights, strict=True) if n)
    wanted = [round(rounds * w) if n else 0 for n, w in zip(lengths, weights, strict=True)]
    counts = -(-np.array(wanted) // block) * block
    source = np.repeat(np.arange(len(counts)), counts)
    place = np.concatenate([np.arange(count) for count in counts])
    turn = place // size
    whole = (turn + 1) * size <= counts[source]
    times = np.where(whole, (turn + 0.5) * size / np.array(weights)[source], np.inf)
    order = np.lexsort((-block[source], times))
    return np.stack([source, place % np.array(lengths)[source]], axis=1)[order]
