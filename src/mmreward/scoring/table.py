"""The two files every metric is a function of, and the file that says where they come from.

records.jsonl     one line per record of an evaluated set, in its order. A set that holds the same
                  record twice has two lines with one `record` id; they share their scores, both
                  count, and metrics treat them as one group.
scores.jsonl      one line per (record, answer, condition, order, sample), appended as it goes
scores.meta.json  model, configuration, layout, dtype, versions; and `sets`, what became of the
                  rows of every set: {name of the set:
                    rows       how many it has, usable or not
                    expected   numbers of rows that the benchmark may have; empty: any
                    path, or hub and revision    where they are from
                    images     "keep", or "drop" if the set was scored without them
                    unusable   [{category, reason, n, example}]: rows that are no record because
                               they cannot be scored (no image, an image in an answer, too long)
                  }. bad_records.jsonl of a run folder lists each of them.
images/           small copies of images that are no files, see mmreward.report.examples

Another project may write these files; nothing here needs a model. What is read:

records.jsonl     record: any text, the same for the same content
                  benchmark, split: which set it belongs to; category, group: text or null
                  answers: [{chars, newlines}], where known also text, tokens
                  pairs: [[better, worse, weight]], indices into answers
                  where known: prompt; media: [{sha256, path}]; ties: [[i, j]]
scores.jsonl      record, answer, condition ("intact" is the model as it is), score;
                  order and sample are 0 if they are not given
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd

from mmreward.errors import UserError
from mmreward.files import replace_file
from mmreward.records import Record
from mmreward.scoring.lines import (
    RECORDS,
    SCORES,
    Key,
    json_line,
    key_name,
    key_of,
    read_lines,
)

META = "scores.meta.json"
KEPT_IMAGES = "images"

# The part of scores.meta.json that says where the sets are from, not what scored them.
SETS = "sets"

# Order in which conditions are shown; others follow by name.
CONDITIONS = ("intact", "blind_image", "swapped_image", "text_only", "normalised", "untrained")


def record_row(
    record: Record, benchmark: str, split: str, tokens: Sequence[int | None] | None = None
) -> dict[str, Any]:
    """The line of records.jsonl for a record; `tokens` holds the answers' lengths in tokens."""
    tokens = [None] * len(record.responses) if tokens is None else tokens
    return {
        "record": record.id,
        "source_id": record.source_id,
        "benchmark": benchmark,
        "split": split,
        "category": record.category,
        "group": record.group,
        "prompt": record.prompt,
        "media": [
            {"sha256": m.sha256, "path": None if m.path is None else str(m.path)}
            for m in record.media
        ],
        "answers": [
            {
                "text": response.text,
                "chars": len(response.text),
                "tokens": count,
                "newlines": response.text.count("\n"),
                "rank": response.rank,
            }
            for response, count in zip(record.responses, tokens, strict=True)
        ],
        "pairs": [[pair.better, pair.worse, pair.weight] for pair in record.pairs],
        "ties": [list(tie) for tie in record.ties],
    }


def write_records(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the rows of one or more sets; other sets already in the file stay."""
    path = folder / RECORDS
    written = {(row["benchmark"], row["split"]) for row in rows}
    kept = []
    if path.exists():
        kept = [row for row in read_lines(path) if (row["benchmark"], row["split"]) not in written]
    replace_file(path, "".join(json_line(row) for row in [*kept, *rows]))


class ScoreWriter:
    """Appends to scores.jsonl and continues where an interrupted evaluation stopped.

    meta: what scores.meta.json will say; its `sets` are added to those that are there.

    A line that a killed process left unfinished is cut off. `scores` holds what is already
    there. Close it, or use it as a context manager.

    Raises UserError if the folder holds scores of another `meta`: two models in one table
    would be taken for one.
    """

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        path = folder / SCORES
        self.scores: dict[Key, float] = {}
        if path.exists():
            with path.open("rb+") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
            self.scores = {key_of(row): row["score"] for row in read_lines(path)}
        if self.scores:
            _same_meta(folder / META, meta)
        meta = {**meta, SETS: {**_sets(folder), **meta.get(SETS, {})}}
        replace_file(folder / META, json.dumps(meta, indent=2, sort_keys=True) + "\n")
        self._file = path.open("a", encoding="utf-8")

    def write(self, key: Key, score: float, **fields: Any) -> bool:
        """Writes one line and returns True, or leaves the one that is there and returns False.

        fields: what else is kept of a judgement, such as verdict and parsed

        Raises UserError for a score that is not a finite number.
        """
        if key in self.scores:
            return False
        if not math.isfinite(score):
            raise UserError(
                f"the model gave {key_name(key)} the score {score}, not a finite number; look at "
                "the training loss, or score in float32"
            )
        self._file.write(json_line({**key._asdict(), "score": float(score), **fields}))
        self._file.flush()
        self.scores[key] = float(score)
        return True

    def append(self, scores: Iterable[tuple[Key, float]]) -> int:
        """Writes many; returns how many were new."""
        return sum(self.write(key, score) for key, score in scores)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True)
class ScoreTable:
    """What was evaluated and what came out.

    records: the lines of records.jsonl
    scores:  record, answer, condition, order, sample, score: one row per line of scores.jsonl.
             Scores of records that records.jsonl does not name (of an earlier, larger set) are
             not used.
    sets:    {name of a set: what became of its rows}, where scores.meta.json says
    """

    folder: Path
    records: list[dict[str, Any]]
    scores: pd.DataFrame
    sets: Mapping[str, Mapping[str, Any]]

    @property
    def conditions(self) -> list[str]:
        found = set(self.scores["condition"])
        return [c for c in CONDITIONS if c in found] + sorted(found - set(CONDITIONS))

    def by_answer(self, condition: str) -> dict[tuple[str, int], float]:
        """(record, answer) -> score, averaged over presentation orders and samples."""
        rows = self.scores[self.scores["condition"] == condition]
        means = rows.groupby(["record", "answer"])["score"].mean()
        return dict(zip(means.index, means.to_numpy(), strict=True))


def read_table(folder: Path) -> ScoreTable:
    """Reads a folder's records.jsonl and scores.jsonl.

    Raises UserError for a missing or empty file, a line that is not what it should be, a
    score written twice and a score that is not a finite number. Whether every answer has its
    score is asked where the scores are used, per set and condition.
    """
    records = list(read_lines(folder / RECORDS))
    scores = list(read_lines(folder / SCORES))
    for path, rows in ((folder / RECORDS, records), (folder / SCORES, scores)):
        if not rows:
            raise UserError(f"{path} is empty; run the evaluation again")
    seen: set[Key] = set()
    for row in scores:
        key = key_of(row)
        if key in seen:
            raise UserError(
                f"{folder / SCORES} holds {key_name(key)} twice; remove one of the lines"
            )
        if not math.isfinite(row["score"]):
            raise UserError(
                f"{folder / SCORES} gives {key_name(key)} the score {row['score']}, not a finite "
                "number; repair the model and score again"
            )
        seen.add(key)
    frame = pd.DataFrame([(*key_of(row), float(row["score"])) for row in scores])
    frame.columns = pd.Index([*Key._fields, "score"])
    _find_images(folder, records)
    return ScoreTable(folder, records, frame, _sets(folder))


def _sets(folder: Path) -> dict[str, Any]:
    """`sets` of scores.meta.json; none where another project wrote the table without it."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    sets = meta.get(SETS) if isinstance(meta, dict) else None
    return dict(sets) if isinstance(sets, dict) else {}


def kept_name(sha256: str) -> str:
    """File name of an image's small copy."""
    return f"{sha256[:16]}.jpg"


def _find_images(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """Fills in the paths of images that the table keeps itself."""
    kept = {path.name: path for path in (folder / KEPT_IMAGES).glob("*.jpg")}
    for row in records if kept else ():
        for media in row.get("media", ()):
            if not media["path"] and (path := kept.get(kept_name(media["sha256"] or ""))):
                media["path"] = str(path)


def _same_meta(path: Path, meta: Mapping[str, Any]) -> None:
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"{path} is missing, so that nobody knows which model wrote {SCORES}; "
            f"delete {SCORES} to score again"
        ) from None
    new = json.loads(json.dumps(meta))
    for field in sorted({*old, *new} - {SETS}):
        if old.get(field) != new.get(field):
            raise UserError(
                f"{path.parent} holds scores with {field}={old.get(field)!r}, this evaluation has "
                f"{new.get(field)!r}; delete {SCORES} there to score again"
            )
