"""Score tables without a model, and those of the published scores."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmreward.records import Media, Message, Record, Response
from mmreward.scoring.table import (
    Key,
    ScoreTable,
    ScoreWriter,
    read_table,
    record_row,
    write_records,
)

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("MMREWARD_DATA", ROOT / "../shared/data"))

Scores = Mapping[str, Sequence[Sequence[float] | None]]


def make(
    question: str,
    texts: Sequence[str] = ("good", "bad"),
    ranks: Sequence[int] = (0, 1),
    image: str | Path = "",
    **fields: Any,
) -> Record:
    """A record; `image` is the file's path, or a text that stands for the content of one."""
    media: tuple[Media, ...] = ()
    if image:
        media = (Media(path=image) if isinstance(image, Path) else Media(data=image.encode()),)
    responses = tuple(Response(t, r) for t, r in zip(texts, ranks, strict=True))
    content = (0, question) if image else (question,)
    return Record((Message("user", content),), responses, media, **fields)


def table(
    folder: Path,
    records: Sequence[Record],
    scores: Scores,
    benchmark: str = "b",
    split: str = "test",
) -> ScoreTable:
    """scores: {condition: one list of scores, or None, per record}"""
    write_records(folder, [record_row(r, benchmark, split) for r in records])
    with ScoreWriter(folder, {}) as writer:
        for condition, rows in scores.items():
            for record, values in zip(records, rows, strict=True):
                for answer, value in enumerate(values or ()):
                    writer.write(Key(record.id, answer, condition), value)
    return read_table(folder)


def published(name: str, n: int) -> tuple[list[Record], Scores]:
    """The first `n` pairs of VL-RewardBench with a published file's scores."""
    rows = (DATA / "seed_scores" / name).read_text().splitlines()[:n]
    with gzip.open(DATA / "vl_rewardbench" / "text.jsonl.gz", "rt") as file:
        texts = [json.loads(line) for line in file][:n]
    groups = {"mathverse": "reasoning", "mmmu": "reasoning"}
    groups |= dict.fromkeys(("hallucination", "RLAIF", "RLHF"), "hallucination")
    records, scores = [], []
    for line, row in zip(rows, texts, strict=True):
        published_row = json.loads(line)
        best = published_row["human_preferred_idx"]
        answers = [row["rejected"], row["rejected"]]
        answers[best] = row["chosen"]
        records.append(
            make(
                row["prompt"],
                answers,
                (best, 1 - best),
                category=groups.get(re.split("[_-]", row["id"])[0], "general"),
                # The text file leaves the images out, and five rows differ in theirs alone.
                image=row["image"],
            )
        )
        scores.append(published_row["scores"])
    return records, {"intact": scores}


def drawn(figure: Image.Image) -> bool:
    """Whether a saved figure shows something over most of its width and height: bars, points and
    letters, not a blank canvas or one with a title alone."""
    ink = np.asarray(figure.convert("L")) < 200
    columns, rows = np.flatnonzero(ink.any(0)), np.flatnonzero(ink.any(1))
    spread = [np.ptp(at) / size for at, size in zip((columns, rows), figure.size, strict=True)]
    return min(spread) > 0.7 and 0.005 < ink.mean() < 0.9
