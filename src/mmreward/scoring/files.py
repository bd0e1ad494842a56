"""Files of prompts and answers -> a file of rewards, taken up again where it was stopped.

OUTPUT            a line per row, in the rows' order
OUTPUT.bad.jsonl  {file, row, reason} of each row that has no rewards
OUTPUT.state.json what is being scored with what, and how far the two files are whole

Rows are scored in windows, each written at once; after a kill both files are cut back to the end of
the last whole window, so that the result does not depend on where it was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmreward.data.batches import encoded_size
from mmreward.data.sources.tables import Table, Tables
from mmreward.errors import UserError
from mmreward.files import replace_file
from mmreward.records import Record, RecordError
from mmreward.scoring.lines import json_line
from mmreward.scoring.load import LoadedModel
from mmreward.scoring.score import Encoded, Rewarded, encode, score_encoded

# Of a window, in full batches: rows of like length are scored together within one.
WINDOW = 4

# (number of a row, its rewards) -> a line of the output
Line = Callable[[int, list[float]], dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """Where a row stands: file, and its number there as an editor counts."""

    file: str
    row: int


@dataclass
class State:
    """The content of OUTPUT.state.json.

    output: name of the output file
    what:   what is scored with what; a file holds the rewards of one such thing
    rows, bytes, bad_bytes: rows done, and how long the two files are with them
    bad:    rows without rewards
    """

    output: str
    what: dict[str, Any]
    rows: int = 0
    bytes: int = 0
    bad_bytes: int = 0
    bad: int = 0
    finished: bool = False

    def save(self, path: Path) -> None:
        replace_file(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def take_up(cls, path: Path, output: Path, what: dict[str, Any], fresh: str = "") -> State:
        """The state of an earlier call, or a new one.

        fresh: name of a file of this call's own, which takes the place of `output` where nothing is
               left to go on with

        Raises UserError if `output` holds something else, which would be overwritten.
        """
        if not path.is_file():
            if not fresh and output.exists():
                raise UserError(f"output={output} exists already; name another file, or delete it")
            return cls(fresh or output.name, what)
        state = cls(**json.loads(path.read_text()))
        written = path.with_name(state.output)
        if fresh and state.finished:
            return cls(fresh, what)
        if not written.exists():  # taken away: nothing is left to go on with
            return cls(fresh or output.name, what)
        if written.stat().st_size < state.bytes:
            raise UserError(
                f"{written} is shorter than it was left; put it back, or delete it and {path} to "
                "score again"
            )
        for key, value in what.items():
            if state.what.get(key) != value:
                raise UserError(
                    f"{written} holds rewards with another {key} "
                    f"({state.what.get(key)!r}, not {value!r}); name another output, or delete "
                    f"{path} and the file"
                )
        return state


def output_of(path: Path) -> str:
    """Name of the file that a state is about; "" for a file that is no state."""
    try:
        return str(json.loads(path.read_text())["output"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


class Rows(Tables):
    """All rows of the tables, each as the one view of itself that is scored."""

    def __init__(self, tables: Sequence[Table], prepare: Callable[[Record], Record]) -> None:
        super().__init__(tables)
        self.prepare = prepare

    def place(self, number: int) -> Place:
        """Of any row, read or not."""
        file, _, row = self.where(number).rpartition(" row ")
        return Place(file, int(row))

    def __getitem__(self, number: int, /) -> list[Record]:
        return [self.prepare(self.record(number))]


@dataclass(frozen=True)
class _Later:
    """The rows from one on."""

    rows: Rows
    first: int

    def __len__(self) -> int:
        return len(self.rows) - self.first

    def __getitem__(self, number: int, /) -> list[Record]:
        return self.rows[self.first + number]


def score_rows(
    model: LoadedModel,
    rows: Rows,
    state: State,
    state_path: Path,
    line: Line,
    progress: Callable[[int], None] = lambda rows: None,
    fatal: bool = False,
) -> None:
    """Scores the rows that `state` has not, and keeps it.

    fatal: a row that cannot be scored is an error, and no line of its window is written
    """
    folder = state_path.parent
    output, bad = folder / state.output, folder / f"{state.output}.bad.jsonl"
    batching = model.batching
    state.save(state_path)
    with _opened(output, state.bytes) as out, _opened(bad, state.bad_bytes) as left_out:
        for window in _windows(model, rows, state.rows):
            items = sorted(window.items(), key=lambda item: _length(item[1], model))
            rewards = dict(
                score_encoded(model.model, model.collate, items, model.precision, batching)
            )
            lines, errors = _lines(rows, rewards, line)
            if errors and fatal:
                first = errors[0]
                raise UserError(f"{first['file']} row {first['row']}: {first['reason']}")
            for file, found in ((out, lines), (left_out, errors)):
                file.write("".join(json_line(one) for one in found))
                file.flush()
            state.rows += len(window)
            state.bad += len(errors)
            state.bytes, state.bad_bytes = output.stat().st_size, bad.stat().st_size
            state.save(state_path)
            progress(len(window))
    state.finished = True
    state.save(state_path)
    if not state.bad:
        bad.unlink()


def _windows(model: LoadedModel, rows: Rows, first: int) -> Iterator[dict[int, Encoded]]:
    window: dict[int, Encoded] = {}
    tokens = 0
    stream = encode(model.collate.encoder, _Later(rows, first), model.batching)
    for number, (one,) in enumerate(stream, start=first):
        window[number] = one
        tokens += _length(one, model)
        full = len(window) >= WINDOW * model.batching.records
        if full or tokens >= WINDOW * model.batching.tokens:
            yield window
            window, tokens = {}, 0
    if window:
        yield window


def _length(one: Encoded, model: LoadedModel) -> int:
    if isinstance(one, RecordError):
        return 0
    size = encoded_size(one, model.collate.layout)
    return size.rows * size.length


def _lines(
    rows: Rows, rewards: Mapping[int, Rewarded], line: Line
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    lines, errors = [], []
    for number in sorted(rewards):
        found, place = rewards[number], rows.place(number)
        if isinstance(found, RecordError):
            reason = str(found).removeprefix(f"{place.file} row {place.row}: ")
            errors.append({**asdict(place), "reason": reason})
        else:
            lines.append(line(number, found))
    return lines, errors


def _opened(path: Path, size: int) -> Any:
    """The file, cut back to `size` bytes, to be added to. The list of bad rows may be gone: it is
    shorter then, and whole for what follows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    file = path.open("r+", encoding="utf-8")
    file.truncate(min(size, path.stat().st_size))
    file.seek(0, 2)
    return file
