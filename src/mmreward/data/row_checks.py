"""The one pass over all rows of a source before any of them is used: bad rows, rows that
contradict each other, and which rows are held out."""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmreward.data.bad_records import BadRecord
from mmreward.data.sources.base import SPLITS, Split
from mmreward.data.sources.tables import Tables
from mmreward.data.splitting import Fractions, split_rows
from mmreward.errors import UserError
from mmreward.records import Media, Record, RecordError

_SPEAKER = re.compile(r"\A\W*(human|user|question|instruction|prompt)\W+", re.IGNORECASE)


class RowChecks:
    """Reads, compares and splits rows. Call `read`, then `compare`; then ask for the rest.

    Images are looked at here for the first time, and only those that are left.

    strip: takes away the images that nobody will see
    """

    def __init__(self, rows: Tables, strip: Callable[[Record], Record]) -> None:
        self.rows = rows
        self.strip = strip
        self.reasons: dict[int, str] = {}
        self.keys: dict[int, tuple[str, ...]] = {}  # of rows that may be held out
        self.n_pairs = np.zeros(len(rows), dtype=int)
        self._preferences = _Preferences()
        self._files: dict[Path, Media] = {}

    def read(self, keys: bool) -> None:
        """Reads every row. keys: with what must not occur in two splits: its images, or its prompt
        if it has none, and its group."""
        for number in range(len(self.rows)):
            try:
                record = self.strip(self.rows.record(number))
                media = [self._known(media) for media in record.media]
                for one in media:
                    _ = one.size  # that it is there and its header can be read
                check_answers(record)
                if keys and self.rows.find(number)[0].split == "train":
                    images = [one.sha256[:16] for one in media]
                    group = [f"group {record.group}"] if record.group else []
                    self.keys[number] = (*(images or [_prompt_hash(record)]), *group)
            except RecordError as error:
                self.reasons[number] = str(error)
                continue
            self._preferences.add(number, record)
            self.n_pairs[number] = len(record.pairs)

    def compare(self) -> None:
        """Makes rows bad that contradict each other."""
        for number, other in self._preferences.contradictions(self._content).items():
            self.reasons[number] = (
                f"it contradicts {self.rows.where(other)}: same prompt and answers, opposite order"
            )

    def bad(self) -> list[BadRecord]:
        """The rows that cannot be used, in their order."""
        return [BadRecord(self.rows.where(n), self.reasons[n]) for n in sorted(self.reasons)]

    def splits(self, fractions: Fractions) -> dict[Split, np.ndarray]:
        """Numbers of the good rows, split by split. UserError if none is there to learn from."""
        good = [number for number in range(len(self.rows)) if number not in self.reasons]
        held = [number for number in good if number in self.keys]
        chosen = split_rows([self.keys[number] for number in held], fractions) if held else []
        assigned = dict(zip(held, chosen, strict=True))
        numbers: dict[Split, list[int]] = {split: [] for split in SPLITS}
        for number in good:
            numbers[assigned.get(number) or self.rows.find(number)[0].split].append(number)
        if not self.n_pairs[numbers["train"]].any():
            raise UserError(self._nothing_to_learn(len(numbers["train"])))
        return {split: np.array(chosen, dtype=int) for split, chosen in numbers.items()}

    def _nothing_to_learn(self, left: int) -> str:
        if not len(self.rows):
            return "the data source has no rows; check data.source.path"
        if not left:
            first = min(self.reasons, default=0)
            reason = self.reasons.get(first, "all rows are held out")
            return f"no row is left to train on; {self.rows.where(first)}: {reason}"
        return (
            f"none of the {left} rows to train on prefers one answer to another "
            f"({self.rows.where(0)} and following); a source needs answers of different ranks"
        )

    def _known(self, media: Media) -> Media:
        """The same image as it was met first, so that its file is read once."""
        return self._files.setdefault(media.path, media) if media.path else media

    def _content(self, number: int) -> tuple[Record, str]:
        """(the record, what tells its images from those of others): their bytes, or what their
        cells say where nobody looks at them; the same question about another image is no
        contradiction even for a reader of text."""
        whole = self.rows.record(number)
        record = self.strip(whole)
        if record.media or not whole.media:
            return record, str([self._known(media).sha256 for media in record.media])
        return record, str([media.path or media.key or media.sha256 for media in whole.media])


class _Preferences:
    """Every preference of the rows, 24 bytes each, to find those that contradict.

    Images are compared only where prompt and answers already contradict: for most tables no
    image file is read for it.
    """

    def __init__(self) -> None:
        self._rows = array("q")
        self._keys = array("Q")
        self._forward = array("b")

    def add(self, row: int, record: Record) -> None:
        """Notes the pairs of a record; `row` is any number that names it."""
        for content, forward in _preferred(record):
            self._rows.append(row)
            digest = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8)
            self._keys.append(int.from_bytes(digest.digest()))
            self._forward.append(forward)

    def contradictions(self, content_of: Callable[[int], tuple[Record, str]]) -> dict[int, int]:
        """row -> another row that says the opposite. Both are in it: neither is known to be
        the one that is wrong.

        content_of: gives a row's record again, and a name for its images
        """
        if not self._keys:
            return {}
        rows, forward = np.asarray(self._rows), np.asarray(self._forward, dtype=bool)
        _, group = np.unique(np.asarray(self._keys), return_inverse=True)
        size = int(group.max()) + 1
        both = (np.bincount(group, forward, size) > 0) & (np.bincount(group, ~forward, size) > 0)
        suspects: dict[str, dict[bool, list[int]]] = {}
        for row in sorted(set(rows[both[group]].tolist())):
            record, images = content_of(row)
            for content, direction in _preferred(record):
                sides = suspects.setdefault(f"{images} {content}", {True: [], False: []})
                sides[direction].append(row)
        found: dict[int, int] = {}
        for sides in suspects.values():
            for direction, members in sides.items():
                for row in members:
                    for other in sides[not direction][:1]:
                        found.setdefault(row, other)
        return found


def _preferred(record: Record) -> list[tuple[str, bool]]:
    """Per pair: prompt and both answers in alphabetical order, and whether the first is better."""
    messages = [[m.role, m.content] for m in record.messages]
    contents = []
    for pair in record.pairs:
        better, worse = (record.responses[i].text for i in (pair.better, pair.worse))
        low, high = sorted((better, worse))
        contents.append((json.dumps([messages, low, high]), better == low))
    return contents


def check_number_of_answers(record: Record) -> None:
    """RecordError for a record that compares nothing: one answer can be scored, not judged."""
    if len(record.responses) == 1:
        raise RecordError("a record needs at least 2 answers, this one has 1")


def check_answers(record: Record) -> None:
    """RecordError for answers that nothing can be learnt from as they are."""
    check_number_of_answers(record)
    for pair in record.pairs:
        if record.responses[pair.better].text == record.responses[pair.worse].text:
            raise RecordError(
                f"answers {pair.better} and {pair.worse} are the same text but not of one rank"
            )
    check_repeats(record)


def check_repeats(record: Record) -> None:
    """RecordError for answers of which each repeats a whole turn of the prompt."""
    openings = [_opening(response.text) for response in record.responses]
    for turn in (_opening(message.text) for message in record.messages):
        # One word may well open every answer ("Why" … "Why not?"), a whole question does not.
        if len(turn.split()) > 1 and all(opening.startswith(turn) for opening in openings):
            raise RecordError(
                "every answer begins with the whole prompt; give the answers without it "
                "(transcripts with Human: and Assistant: are read by data/source=hh_rlhf)"
            )


def _opening(text: str) -> str:
    """The text without white space and the name of a speaker before it."""
    return _SPEAKER.sub("", text, count=1).strip()


def implied_group(record: Record) -> str:
    """What a record belongs with where its row does not say: its first image, or its prompt."""
    return record.media[0].sha256[:16] if record.media else _prompt_hash(record)


def _prompt_hash(record: Record) -> str:
    """16 hex digits that name the prompt's text."""
    return hashlib.sha256(record.prompt.encode()).hexdigest()[:16]
