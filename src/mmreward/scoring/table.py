"""The files every metric is a function of, and the file that says where they come from.

records.jsonl     one line per record of an evaluated set, in its order. A set that holds the same
                  record twice has two lines with one `record` id; they share their scores, both
                  count, and metrics treat them as one group.
scores.jsonl      one line per (record, answer, condition), appended as it goes
verdicts.jsonl    where answers were compared: what scores.jsonl follows from, see
                  mmreward.scoring.verdicts
scores.meta.json  model, configuration, layout, dtype, versions; and `sets`, what became of the
                  rows of every set: {name of the set:
                    rows       how many it has, usable or not
                    expected   numbers of rows that the benchmark may have; empty: any
                    path, or hub and revision    where they are from
                    images     "keep", or "drop" if the set was scored without them
                    conditions under which it was scored; a record may belong to other sets, too
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
scores.jsonl      record, answer, condition ("intact" is the model as it is), score
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mmreward.errors import UserError
from mmreward.files import replace_file
from mmreward.records import Record
from mmreward.scoring.conditions import CONDITIONS
from mmreward.scoring.lines import (
    RECORDS,
    SCORES,
    VERDICTS,
    Key,
    json_line,
    key_name,
    key_of,
    read_lines,
    whole_lines,
)
from mmreward.scoring.verdicts import Outcomes, outcomes, read_verdicts

META = "scores.meta.json"
KEPT_IMAGES = "images"

# The part of scores.meta.json that says where the sets are from, not what scored them.
SETS = "sets"


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

    meta: what scores.meta.json will say of the model; the sets it names stay

    A line that a killed process left unfinished is cut off. `scores` holds what is already
    there. Close it, or use it as a context manager.

    Raises UserError if the folder holds scores of another `meta`: two models in one table
    would be taken for one.
    """

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        path = folder / SCORES
        self.scores: dict[Key, float] = {}
        if path.exists():
            whole_lines(path)
            self.scores = {key_of(row): row["score"] for row in read_lines(path)}
        verdicts = folder / VERDICTS  # which scores follow from
        if self.scores or (verdicts.is_file() and verdicts.stat().st_size):
            _same_meta(folder / META, meta)
        _write_meta(folder, {**meta, SETS: _sets(folder)})
        self._file = path.open("a", encoding="utf-8")

    def write(self, key: Key, score: float) -> bool:
        """Writes one line and returns True, or leaves the one that is there and returns False.

        Raises UserError for a score that is not a finite number.
        """
        if key in self.scores:
            return False
        if not math.isfinite(score):
            raise UserError(
                f"the model gave {key_name(key)} the score {score}, not a finite number; look at "
                "the training loss, or score in float32"
            )
        self._file.write(json_line({**key._asdict(), "score": float(score)}))
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

    records:  the lines of records.jsonl
    scores:   {condition: {(record, answer): score}}. Those of records that records.jsonl does not
              name (of an earlier, larger set) are not used.
    outcomes: of the pairs that a judge compared, see mmreward.scoring.verdicts
    sets:     {name of a set: what became of its rows}, where scores.meta.json says
    """

    folder: Path
    records: list[dict[str, Any]]
    scores: Mapping[str, Mapping[tuple[str, int], float]]
    outcomes: Outcomes
    sets: Mapping[str, Mapping[str, Any]]

    @property
    def conditions(self) -> list[str]:
        """Those with a score, in the order in which they are shown."""
        others = sorted(set(self.scores) - set(CONDITIONS))
        return [c for c in CONDITIONS if c in self.scores] + others


def read_table(folder: Path) -> ScoreTable:
    """Reads a folder's records.jsonl, scores.jsonl and, if there is one, verdicts.jsonl.

    Raises UserError for a missing or empty file, a line that is not what it should be, a
    score written twice and a score that is not a finite number. Whether every answer has its
    score is asked where the scores are used, per set and condition.
    """
    records = list(read_lines(folder / RECORDS))
    rows = list(read_lines(folder / SCORES))
    for path, found in ((folder / RECORDS, records), (folder / SCORES, rows)):
        if not found:
            raise UserError(f"{path} is empty; run the evaluation again")
    scores: dict[str, dict[tuple[str, int], float]] = {}
    for row in rows:
        key = key_of(row)
        of_condition = scores.setdefault(key.condition, {})
        if (key.record, key.answer) in of_condition:
            raise UserError(
                f"{folder / SCORES} holds {key_name(key)} twice; remove one of the lines"
            )
        if not math.isfinite(row["score"]):
            raise UserError(
                f"{folder / SCORES} gives {key_name(key)} the score {row['score']}, not a finite "
                "number; repair the model and score again"
            )
        of_condition[key.record, key.answer] = float(row["score"])
    _find_images(folder, records)
    return ScoreTable(folder, records, scores, outcomes(read_verdicts(folder)), _sets(folder))


def set_name(folder: Path, name: str, split: str, records: Sequence[str]) -> str:
    """`name`, or `name@…` if the folder holds another set of that name: other data may come from
    a file that is called the same. `base_name` (mmreward.analysis.official) takes it away again.

    records: ids of the set's records, in order
    """
    path = folder / RECORDS
    held: dict[str, list[str]] = {}
    for row in read_lines(path) if path.exists() else ():
        if row["split"] == split:
            held.setdefault(row["benchmark"], []).append(row["record"])
    if held.get(name, records) == list(records):
        return name
    digest = hashlib.sha256(" ".join(records).encode()).hexdigest()
    return f"{name}@{digest[:6]}"


def write_sets(folder: Path, sets: Mapping[str, Mapping[str, Any]]) -> None:
    """Notes in scores.meta.json what became of these sets' rows. The conditions under which a set
    was scored earlier stay among its conditions."""
    meta = json.loads((folder / META).read_text(encoding="utf-8"))
    for name, info in sets.items():
        conditions = [*meta[SETS].get(name, {}).get("conditions", ()), *info["conditions"]]
        meta[SETS][name] = {**info, "conditions": list(dict.fromkeys(conditions))}
    _write_meta(folder, meta)


def _write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    replace_file(folder / META, json.dumps(meta, indent=2, sort_keys=True) + "\n")


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
    # What an earlier version did not note yet is no difference.
    for field in sorted({*old, *new} - {SETS}):
        if field in old and old[field] != new.get(field):
            raise UserError(
                f"{path.parent} holds scores with {field}={old.get(field)!r}, this evaluation has "
                f"{new.get(field)!r}; delete {SCORES} there (and {VERDICTS}) to score again"
            )
