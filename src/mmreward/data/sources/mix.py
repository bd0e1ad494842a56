"""Several sources as one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mmreward.data.bad_records import BadRecord
from mmreward.data.sources.base import LazyRecords, Source, Split
from mmreward.errors import UserError
from mmreward.records import Record


class Mix:
    """Mixes the training records of several sources; held-out records are put one after another.

    sources: name -> source
    weights: name -> how often a training record comes from it, relative to the others. In an
             epoch every record occurs at least once; the lighter a source is for its weight, the
             more often its records are repeated. None: every record exactly once.
    name:    of the data in reports; the sources' names joined if None

    Training records are interleaved evenly, in an order that is always the same: any stretch of
    it holds the sources in proportion. Raises UserError for weights that do not name the sources
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

    def split(self, split: Split) -> Sequence[Record]:
        parts = [source.split(split) for source in self.sources]
        lengths = [len(part) for part in parts]
        if split == "train":
            order = interleave(lengths, self.weights or [float(n) for n in lengths])
        else:
            order = np.array(
                [(s, i) for s, length in enumerate(lengths) for i in range(length)]
            ).reshape(-1, 2)
        return LazyRecords(len(order), partial(_pick, parts, order))

    @property
    def bad_records(self) -> list[BadRecord]:
        """What the sources left out."""
        return [bad for source in self.sources for bad in getattr(source, "bad_records", ())]

    @property
    def unread_columns(self) -> list[str]:
        """Columns of the sources' tables that are no field of a record."""
        return [
            f"{source.name}: {column}"
            for source in self.sources
            for column in getattr(source, "unread_columns", ())
        ]


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


def interleave(lengths: Sequence[int], weights: Sequence[float]) -> np.ndarray:
    """(n, 2) source and record: the order in which sources take turns.

    Source s gives n·w_s/Σw of the records, where n is the least for which every record of every
    source occurs. Its k-th record stands where (k + ½)/w_s falls among those of the others.

    >>> interleave([2, 4], [1.0, 2.0])[:, 0].tolist()
    [1, 0, 1, 1, 0, 1]
    """
    rounds = max(n / w for n, w in zip(lengths, weights, strict=True) if n)
    counts = [round(rounds * w) if n else 0 for n, w in zip(lengths, weights, strict=True)]
    times = [(np.arange(c) + 0.5) / w for c, w in zip(counts, weights, strict=True)]
    order = np.argsort(np.concatenate(times), kind="stable")
    pairs = [
        np.stack([np.full(c, s), np.arange(c) % max(n, 1)], axis=1)
        for s, (c, n) in enumerate(zip(counts, lengths, strict=True))
    ]
    return np.concatenate(pairs)[order]
