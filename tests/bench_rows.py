"""Benchmarks without a model: their rows on disk, any scores, and what follows from these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmreward.analysis.metrics import evaluate
from mmreward.analysis.pairs import PairTable, pair_tables
from mmreward.benchmarks.base import BenchmarkSet
from mmreward.benchmarks.references import reference
from mmreward.data.sources.base import Source
from mmreward.data.transforms import Transform
from mmreward.records import Message, Record, Response
from mmreward.scoring.table import (
    Key,
    ScoreTable,
    ScoreWriter,
    read_table,
    record_row,
    write_records,
    write_sets,
)

Scorer = Callable[[Record], Sequence[float]]


class OwnData(Source):
    """Stands for the run's own data."""

    name = "own"

    def records(self, split: str) -> list[Record]:
        answers = (Response("yes", 0), Response("no", 1))
        return [Record((Message("user", (f"{split} {i}",)),), answers) for i in range(3)]


def own(images: str = "keep", template: str | None = None) -> Source:
    return OwnData().through(Transform(images, template))


def write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def scored(folder: Path, found: BenchmarkSet, scorer: Scorer) -> ScoreTable:
    """A score table of the set in which `scorer` gave the scores."""
    write_records(folder, [record_row(r, found.name, "test") for r in found.records])
    with ScoreWriter(folder, {}) as writer:
        for record in found.records:
            for answer, score in enumerate(scorer(record)):
                writer.write(Key(record.id, answer, "intact"), score)
    write_sets(folder, {found.name: found.info(["intact"])})
    return read_table(folder)


def pairs(folder: Path, found: BenchmarkSet, scorer: Scorer) -> PairTable:
    return pair_tables(scored(folder, found, scorer))[found.name]


def metrics(folder: Path, found: BenchmarkSet, scorer: Scorer) -> dict[str, Any]:
    return evaluate(scored(folder, found, scorer), reference)[found.name]


def by_rank(record: Record) -> list[float]:
    """A scorer that is always right."""
    return [-float(response.rank) for response in record.responses]
