"""Preferences over scikit-learn's 1,797 real handwritten digits: small, real, no download.

Records come in twins: two scans with contradicting truths, one question, the same two answers
in the same order. Record 2i shows the first scan and prefers the answer that is right for it,
record 2i + 1 shows the second and prefers the other. Within every split each (question, chosen,
rejected) therefore occurs exactly as often with the two exchanged, and whatever reads only the
text (length, line breaks, order, a model that does not look) scores exactly one half.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mmreward.data.sources.base import SPLITS, LazyRecords, Source, Split
from mmreward.errors import UserError
from mmreward.records import Media, Message, Record, Response

VALIDATION_SCANS, TEST_SCANS = 250, 347  # the other 1,200 train
# Twins per kind of question: a test scan is shown about once per kind, 498 and 1,038 records.
TWINS: dict[Split, int] = {"validation": 83, "test": 173}
SMALLEST_DIGIT = 16  # pixels; twice the resolution of the scans

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ANSWERS = ("{}.", "It is {}.", "This digit is {}.", "I looked closely:\nit is {}.")


@dataclass(frozen=True)
class Kind:
    """A kind of question: its wordings, and the true thing to say of each digit 0 to 9."""

    questions: tuple[str, ...]
    truths: tuple[str, ...]

    @cached_property
    def contradictions(self) -> list[tuple[int, int]]:
        """The ordered pairs of digits of which different things are true."""
        pairs = itertools.permutations(range(10), 2)
        return [(a, b) for a, b in pairs if self.truths[a] != self.truths[b]]


KINDS = {
    "which": Kind(
        ("Which digit is this?", "What digit do you see?", "Name this digit."),
        WORDS,
    ),
    "parity": Kind(
        ("Is this digit odd or even?", "Odd or even?", "Is the digit you see even or odd?"),
        tuple("odd" if d % 2 else "even" for d in range(10)),
    ),
    "larger": Kind(
        ("Is this digit larger than five?", "Larger than five or not?", "Is it more than five?"),
        tuple("larger than five" if d > 5 else "at most five" for d in range(10)),
    ),
}


def draw_digit(glyph: np.ndarray, image_size: int, left: int, top: int) -> Image.Image:
    """The digit (uint8, 255 is ink) in black on a white square, its corner at (left, top)."""
    canvas = np.full((image_size, image_size), 255, dtype=np.uint8)
    height, width = glyph.shape
    canvas[top : top + height, left : left + width] -= glyph
    return Image.fromarray(canvas).convert("RGB")


class Digits(Source):
    """Which digit, odd or even, larger than five: questions about scanned digits.

    image_size:    side of the square RGB image in pixels
    shift:         training digits are moved by up to this many pixels each way; the digit is
                   drawn `image_size - 2 * shift` pixels wide, so that none is cut off
    train_records: length of the training split (even; made on access)
    seed:          of the split and of the records; not the seed of the training

    `category` is the kind of question, `group` the scan. The scans are those of E. Alpaydin and
    C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
    split by scan and stratified by digit.

    Raises UserError for a value out of range.
    """

    name = "digits"
    block = 2  # twins stay together in training

    def __init__(
        self, image_size: int = 56, shift: int = 3, train_records: int = 25600, seed: int = 0
    ) -> None:
        if shift < 0:
            raise UserError(f"data.source.shift must be 0 or more pixels, not {shift}")
        if image_size < SMALLEST_DIGIT + 2 * shift:
            raise UserError(
                f"data.source.image_size must be at least {SMALLEST_DIGIT + 2 * shift} pixels "
                f"to hold a digit shifted by {shift}, not {image_size}"
            )
        if train_records < 2 or train_records % 2:
            raise UserError(
                "data.source.train_records must be an even number of at least 2, because records "
                f"come in twins, not {train_records}"
            )
        if seed < 0:
            raise UserError(f"data.source.seed must be 0 or more, not {seed}")
        self.image_size, self.shift = image_size, shift
        self.train_records, self.seed = train_records, seed

        scans, digits = load_digits(return_X_y=True)
        side = image_size - 2 * shift
        self._glyphs = np.stack([_enlarge(scan.reshape(8, 8), side) for scan in scans])
        rest, test = train_test_split(
            np.arange(len(scans)), test_size=TEST_SCANS, stratify=digits, random_state=seed
        )
        train, validation = train_test_split(
            rest, test_size=VALIDATION_SCANS, stratify=digits[rest], random_state=seed
        )
        # Per split and digit, the numbers of the scans.
        self._scans: dict[Split, list[np.ndarray]] = {
            split: [np.sort(part[digits[part] == digit]) for digit in range(10)]
            for split, part in zip(SPLITS, (train, validation, test), strict=True)
        }

    def records(self, split: Split) -> Sequence[Record]:
        if split == "train":
            return LazyRecords(self.train_records, self._train_record)
        return self._evaluation_records(split)

    def _train_record(self, number: int) -> Record:
        rng = self._rng("train", number // 2)
        name = list(KINDS)[rng.integers(len(KINDS))]
        pairs = KINDS[name].contradictions
        pair = pairs[rng.integers(len(pairs))]
        scans = [rng.choice(self._scans["train"][digit]) for digit in pair]
        twins = _Twins.draw(name, pair, rng)
        shifts = rng.integers(2 * self.shift, size=(2, 2), endpoint=True)
        side = number % 2
        return self._record(twins, side, f"train-{number:05d}", scans[side], shifts[side])

    def _evaluation_records(self, split: Split) -> list[Record]:
        """Goes round the contradicting pairs of digits and round the scans of each digit, so that
        all are shown about equally often. A record drawn twice is drawn anew."""
        rng = self._rng(split)
        pairs = {name: rng.permutation(kind.contradictions) for name, kind in KINDS.items()}
        scans = {
            name: [itertools.cycle(rng.permutation(part)) for part in self._scans[split]]
            for name in KINDS
        }
        records: dict[str, Record] = {}
        for turn, name in itertools.product(range(TWINS[split]), KINDS):
            pair = pairs[name][turn % len(pairs[name])]
            shown = [next(scans[name][digit]) for digit in pair]
            made: list[Record] = []
            while not made or any(record.id in records for record in made):
                twins = _Twins.draw(name, pair, rng)
                made = [
                    self._record(
                        twins,
                        side,
                        f"{split}-{len(records) + side:04d}",
                        shown[side],
                        (self.shift,) * 2,
                    )
                    for side in (0, 1)
                ]
            records |= {record.id: record for record in made}
        return list(records.values())

    def _rng(self, split: Split, *key: int) -> np.random.Generator:
        seeds = np.random.SeedSequence(self.seed, spawn_key=(SPLITS.index(split), *key))
        return np.random.default_rng(seeds)

    def _record(
        self, twins: _Twins, side: int, source_id: str, scan: int, corner: Sequence[int]
    ) -> Record:
        left, top = (int(pixels) for pixels in corner)
        glyph = self._glyphs[scan]
        return Record(
            messages=(Message("user", (0, twins.question)),),
            responses=tuple(
                Response(text, rank=int(right_for != side))
                for text, right_for in zip(twins.answers, twins.right_for, strict=True)
            ),
            media=(
                Media(
                    draw=partial(draw_digit, glyph, self.image_size, left, top),
                    key=f"digits/{scan:04d}/{len(glyph)}/{self.image_size}/{left}/{top}",
                ),
            ),
            source_id=source_id,
            category=twins.kind,
            group=f"scan-{scan:04d}",
        )


@dataclass(frozen=True)
class _Twins:
    """The text two records share; answer k is right for twin `right_for[k]` (0 or 1)."""

    kind: str
    question: str
    answers: tuple[str, ...]
    right_for: tuple[int, ...]

    @classmethod
    def draw(cls, name: str, pair: Sequence[int], rng: np.random.Generator) -> _Twins:
        kind = KINDS[name]
        wordings = rng.integers(len(ANSWERS), size=2)
        answers = [
            _sentence(ANSWERS[wording].format(kind.truths[digit]))
            for wording, digit in zip(wordings, pair, strict=True)
        ]
        right_for = (0, 1) if rng.integers(2) else (1, 0)
        return cls(
            kind=name,
            question=kind.questions[rng.integers(len(kind.questions))],
            answers=tuple(answers[side] for side in right_for),
            right_for=right_for,
        )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _enlarge(scan: np.ndarray, side: int) -> np.ndarray:
    """A scan (8, 8) with values 0 to 16 as a smooth uint8 picture (side, side)."""
    small = Image.fromarray((scan * (255 / 16)).astype(np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))
