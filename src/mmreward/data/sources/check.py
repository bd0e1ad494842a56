"""The one pass over all rows of a source before any of them is used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmreward.data.bad_records import BadRecord
from mmreward.data.contradictions import Preferences
from mmreward.data.sources.base import SPLITS, Split
from mmreward.data.sources.tables import Table
from mmreward.data.splitting import Fractions, split_rows
from mmreward.errors import UserError
from mmreward.records import Media, Record, RecordError


class Check:
    """Reads, compares and splits rows. A row is named by its place in `places`: (n, 2) table, row.

    Call `read`, then `compare`; then ask for `bad`, `splits` and `unread`.

    look: images are looked at; if not, rows are split by their prompts
    """

    def __init__(self, tables: Sequence[Table], look: bool = True) -> None:
        self.tables = tables
        self.look = look
        self.readers = list(dict.fromkeys(table.reader for table in tables))
        lengths = [len(table.rows) for table in tables]
        self.places = np.stack(
            [
                np.repeat(np.arange(len(tables)), lengths),
                np.concatenate([np.arange(length) for length in lengths]),
            ],
            axis=1,
        )
        self.reasons: dict[int, str] = {}
        self.keys: dict[int, tuple[str, ...]] = {}  # of rows that may be held out
        self.n_pairs = np.zeros(len(self.places), dtype=int)
        self.preferences = Preferences()

    def read(self, keys: bool) -> None:
        """Reads every row; keys: with what must not occur in two splits."""
        files = _Files()
        for number, (t, _) in enumerate(self.places):
            try:
                record = self.record(number)
                seen = record.media if self.look else ()
                for media in seen:
                    files.check(media)
                _check_answers(record)
                if keys and self.tables[t].split == "train":
                    images = [files.sha256(media)[:16] for media in seen]
                    group = [f"group {record.group}"] if record.group else []
                    self.keys[number] = (*(images or [prompt_hash(record)]), *group)
            except RecordError as error:
                self.reasons[number] = str(error)
                continue
            self.preferences.add(number, record)
            self.n_pairs[number] = len(record.pairs)
        for reader in self.readers:
            reader.check_columns()

    def compare(self) -> None:
        """Finds rows that contradict each other."""
        for number, other in self.preferences.contradictions(self.record).items():
            self.reasons[number] = (
                f"it contradicts {self.where(other)}: same prompt and answers, opposite order"
            )

    def splits(self, fractions: Fractions) -> dict[Split, np.ndarray]:
        """Places of the good rows, split by split and in the order of the tables."""
        good = [number for number in range(len(self.places)) if number not in self.reasons]
        held = [number for number in good if number in self.keys]
        chosen = split_rows([self.keys[number] for number in held], fractions) if held else []
        assigned = dict(zip(held, chosen, strict=True))
        numbers: dict[Split, list[int]] = {split: [] for split in SPLITS}
        for number in good:
            own = self.tables[self.places[number][0]].split
            numbers[assigned.get(number, own)].append(number)
        if not self.n_pairs[numbers["train"]].any():
            raise UserError(self._nothing_to_learn(len(numbers["train"])))
        return {split: self.places[chosen] for split, chosen in numbers.items()}

    def bad(self) -> list[BadRecord]:
        return [BadRecord(self.where(n), self.reasons[n]) for n in sorted(self.reasons)]

    def unread(self) -> list[str]:
        return sorted({name for reader in self.readers for name in reader.unread()})

    def record(self, number: int) -> Record:
        t, row = self.places[number]
        return self.tables[t].record(int(row))

    def where(self, number: int) -> str:
        t, row = self.places[number]
        return self.tables[t].rows.where(int(row))

    def _nothing_to_learn(self, left: int) -> str:
        if not len(self.places):
            return "the data source has no rows; check data.source.path"
        if not left:
            first = min(self.reasons, default=0)
            reason = self.reasons.get(first, "all rows are held out")
            return f"no row is left to train on; {self.where(first)}: {reason}"
        return (
            f"none of the {left} rows to train on prefers one answer to another "
            f"({self.where(0)} and following); a source needs answers of different ranks"
        )


class _Files:
    """Headers and hashes of image files, each read once."""

    def __init__(self) -> None:
        self._checked: set[Path] = set()
        self._hashes: dict[Path, str] = {}

    def check(self, media: Media) -> None:
        """RecordError for an image that `Media.size` refuses."""
        if media.path not in self._checked:
            _ = media.size
        if media.path:
            self._checked.add(media.path)

    def sha256(self, media: Media) -> str:
        if media.path is None:
            return media.sha256
        if media.path not in self._hashes:
            self._hashes[media.path] = media.sha256
        return self._hashes[media.path]


def implied_group(record: Record) -> str:
    """What a record belongs with where its row does not say: its first image, or its prompt."""
    return record.media[0].sha256[:16] if record.media else prompt_hash(record)


def prompt_hash(record: Record) -> str:
    """16 hex digits that name the prompt's text."""
    return hashlib.sha256(record.prompt.encode()).hexdigest()[:16]


def _check_answers(record: Record) -> None:
    for pair in record.pairs:
        if record.responses[pair.better].text == record.responses[pair.worse].text:
            raise RecordError(
                f"answers {pair.better} and {pair.worse} are the same text but not of one rank"
            )
