"""Preferences over rendered scenes: 2 to 4 answers with ranks and ties, as many as wanted.

Blindness by construction. Records come in families of four: one question and one list of answers
over four scenes, whose truths are chosen so that over the family every answer is better than
every other one exactly as often as it is worse:

- count: the number of shapes is the lowest number answered in two scenes and the highest in the
  other two. All answers lie between the two, so the distance from the one truth plus the distance
  from the other is the same for all of them and the second order is exactly the first reversed,
  whatever K. Ties are two wordings of one number: a tie at equal distance (true 3: 2 and 4) needs
  a truth in the middle of the answers, and a balance is then impossible, since no other truth
  puts the middle last.
- relation: two truths that exclude each other, twice each; right and wrong change places.
- colour, K = 2 or 3: two colours, twice each, likewise (at K = 3 one of them is worded twice).
- colour, K = 4: four colours, each true once, so each beats each other one once.

Every record of a family has the same number of pairs, so all this holds for pairs weighted by
record too, and since even the order of the answers is shared, not even a judge that reads the
question and all answers together can do better than one half of the pairs without looking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

from mmreward.data.sources.base import SPLITS, LazyRecords, Source, Split
from mmreward.errors import UserError
from mmreward.records import Media, Message, Record, Response, ranks_from_scores

FAMILY = 4  # records per family
GRID = 3  # shapes stand in the cells of a GRID x GRID board, one per cell
SMALLEST_IMAGE = 42  # pixels; a shape is then 7 to 11 pixels wide

KINDS = ("circle", "square", "triangle", "cross")
PLURALS = ("circles", "squares", "triangles", "crosses")
COLOURS = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (31, 90, 200),
    "yellow": (240, 200, 20),
    "purple": (140, 60, 170),
    "orange": (255, 127, 14),
}
BACKGROUND = (245, 245, 245)
NUMBERS = ("zero", "one", "two", "three", "four", "five")

COUNTED = ("{}.", "I count {}.", "The answer is {}.", "I looked closely:\nI count {}.")
COLOURED = ("{}.", "It is {}.", "The circle is {}.", "I looked closely:\nit is {}.")
RELATED = (
    "The {0} is left of the {1}.",
    "The {1} is right of the {0}.",
    "From left to right:\n{0}, {1}.",
)

T = TypeVar("T")

# What a scene must show: kinds of shape, each in the given colour or in any.
Cast = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Shape:
    """A shape of a kind and colour, `radius` pixels around (x, y)."""

    kind: str
    colour: str
    x: int
    y: int
    radius: int


def draw_scene(shapes: Sequence[Shape], image_size: int) -> Image.Image:
    """The shapes on a plain square; they do not overlap."""
    image = Image.new("RGB", (image_size, image_size), BACKGROUND)
    pen = ImageDraw.Draw(image)
    for shape in shapes:
        x, y, r, fill = shape.x, shape.y, shape.radius, COLOURS[shape.colour]
        arm = r // 3
        if shape.kind == "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill)
        elif shape.kind == "square":
            pen.rectangle((x - r, y - r, x + r, y + r), fill)
        elif shape.kind == "triangle":
            pen.polygon([(x, y - r), (x + r, y + r), (x - r, y + r)], fill)
        else:
            pen.rectangle((x - r, y - arm, x + r, y + arm), fill)
            pen.rectangle((x - arm, y - r, x + arm, y + r), fill)
    return image


@dataclass(frozen=True)
class Family:
    """A question and its K answers, with ranks[m] and casts[m] for the m-th truth (2 or 4 truths).

    left_to_right: the first two shapes of the cast stand in this order, in different columns
    """

    category: str
    question: str
    answers: tuple[str, ...]
    ranks: tuple[list[int], ...]
    casts: tuple[Cast, ...]
    left_to_right: bool = False


def draw_family(rng: np.random.Generator) -> Family:
    """A question of any kind, with 2 to 4 answers in random order."""
    make = (_count, _colour, _relation)[rng.integers(3)]
    return make(rng, int(rng.integers(2, 5)))


def _count(rng: np.random.Generator, k: int) -> Family:
    kind = rng.integers(len(KINDS))
    low, high = truths = sorted(_shuffled(rng, range(1, len(NUMBERS)))[:2])
    between = rng.integers(low, high, size=k - 2, endpoint=True)
    claims = _shuffled(rng, [low, high, *(int(n) for n in between)])
    question = _pick(rng, "How many {} are there?", "How many {} do you see?", "Count the {}.")
    return Family(
        category="count",
        question=question.format(PLURALS[kind]),
        answers=_worded(rng, [(NUMBERS[n],) for n in claims], COUNTED),
        ranks=tuple(ranks_from_scores([-abs(n - truth) for n in claims]) for truth in truths),
        casts=tuple(((KINDS[kind], None),) * truth for truth in truths),
    )


def _colour(rng: np.random.Generator, k: int) -> Family:
    truths = _shuffled(rng, list(COLOURS))[: 4 if k == 4 else 2]
    claims = _shuffled(rng, truths + truths[: k - len(truths)])
    return Family(
        category="colour",
        question=_pick(
            rng,
            "What colour is the circle?",
            "Name the colour of the circle.",
            "What is the colour of the circle?",
        ),
        answers=_worded(rng, [(colour,) for colour in claims], COLOURED),
        ranks=tuple(ranks_from_scores([c == truth for c in claims]) for truth in truths),
        casts=tuple((("circle", truth),) for truth in truths),
    )


def _relation(rng: np.random.Generator, k: int) -> Family:
    first, second = _shuffled(rng, list(KINDS))[:2]
    truths = [(first, second), (second, first)]  # (left, right)
    claims = _shuffled(rng, (truths * 2)[:k])
    question = _pick(
        rng,
        "What is left of what, the {} or the {}?",
        "Which is further left, the {} or the {}?",
        "How do the {} and the {} stand, from left to right?",
    )
    return Family(
        category="relation",
        question=question.format(first, second),
        answers=_worded(rng, claims, RELATED),
        ranks=tuple(ranks_from_scores([claim == truth for claim in claims]) for truth in truths),
        casts=tuple(((left, None), (right, None)) for left, right in truths),
        left_to_right=True,
    )


def draw_shapes(
    rng: np.random.Generator, cast: Cast, left_to_right: bool, image_size: int
) -> tuple[Shape, ...]:
    """The cast and 1 to 3 shapes of other kinds, in random places, sizes and colours."""
    others = [kind for kind in KINDS if kind not in dict(cast)]
    extras = [(others[i], None) for i in rng.integers(len(others), size=rng.integers(1, 4))]
    cells = [(int(cell) % GRID, int(cell) // GRID) for cell in rng.permutation(GRID * GRID)]
    if left_to_right:
        partner = next(i for i, (column, _) in enumerate(cells) if column != cells[0][0])
        cells[1], cells[partner] = cells[partner], cells[1]
        cells[:2] = sorted(cells[:2])
    side = image_size // GRID
    shapes = []
    for (kind, colour), (column, row) in zip((*cast, *extras), cells, strict=False):
        radius = int(rng.integers(side // 4, side * 2 // 5, endpoint=True))
        slack = side // 2 - radius - 1
        dx, dy = (int(d) for d in rng.integers(-slack, slack, size=2, endpoint=True))
        x, y = column * side + side // 2 + dx, row * side + side // 2 + dy
        shapes.append(Shape(kind, colour or _pick(rng, *COLOURS), x, y, radius))
    return tuple(shapes)


class Shapes(Source):
    """How many shapes, which colour, what is left of what: questions about rendered scenes.

    train_records, validation_records, test_records: length of each split (multiples of 4)
    image_size: side of the square RGB image in pixels
    seed:       of the records; not the seed of the training

    Splits draw from separate random streams (spawned from one numpy SeedSequence). `category` is
    the kind of question, `group` the scene: one per record.

    Raises UserError for a value out of range.
    """

    name = "shapes"
    block = FAMILY  # families stay together in training

    def __init__(
        self,
        train_records: int = 20000,
        validation_records: int = 500,
        test_records: int = 1000,
        image_size: int = 84,
        seed: int = 0,
    ) -> None:
        self._lengths: dict[Split, int] = {
            "train": train_records,
            "validation": validation_records,
            "test": test_records,
        }
        for split, length in self._lengths.items():
            if length < FAMILY or length % FAMILY:
                raise UserError(
                    f"data.source.{split}_records must be a multiple of {FAMILY}, because records "
                    f"come in families of {FAMILY}, not {length}"
                )
        if image_size < SMALLEST_IMAGE:
            raise UserError(
                f"data.source.image_size must be at least {SMALLEST_IMAGE} pixels for shapes that "
                f"can be told apart, not {image_size}"
            )
        if seed < 0:
            raise UserError(f"data.source.seed must be 0 or more, not {seed}")
        self.image_size, self.seed = image_size, seed

    def records(self, split: Split) -> Sequence[Record]:
        return LazyRecords(self._lengths[split], partial(self._record, split))

    def _record(self, split: Split, number: int) -> Record:
        family_number, member = divmod(number, FAMILY)
        family = draw_family(self._rng(split, family_number))
        truth = member % len(family.casts)
        shapes = draw_shapes(
            self._rng(split, family_number, member),
            family.casts[truth],
            family.left_to_right,
            self.image_size,
        )
        ranked = zip(family.answers, family.ranks[truth], strict=True)
        key = ";".join(f"{s.kind},{s.colour},{s.x},{s.y},{s.radius}" for s in shapes)
        return Record(
            messages=(Message("user", (0, family.question)),),
            responses=tuple(Response(text, rank) for text, rank in ranked),
            media=(
                Media(
                    draw=partial(draw_scene, shapes, self.image_size),
                    key=f"shapes/{self.image_size}/{key}",
                ),
            ),
            source_id=f"{split}-{number:05d}",
            category=family.category,
            group=f"scene-{split}-{number:05d}",
        )

    def _rng(self, split: Split, *key: int) -> np.random.Generator:
        seeds = np.random.SeedSequence(self.seed, spawn_key=(SPLITS.index(split), *key))
        return np.random.default_rng(seeds)


def _pick(rng: np.random.Generator, *options: str) -> str:
    return options[rng.integers(len(options))]


def _shuffled(rng: np.random.Generator, items: Sequence[T]) -> list[T]:
    return [items[i] for i in rng.permutation(len(items))]


def _worded(
    rng: np.random.Generator, claims: Sequence[tuple[str, ...]], templates: Sequence[str]
) -> tuple[str, ...]:
    """A sentence per claim; equal claims get different wordings."""
    wordings = {claim: iter(_shuffled(rng, templates)) for claim in dict.fromkeys(claims)}
    texts = [next(wordings[claim]).format(*claim) for claim in claims]
    return tuple(text[0].upper() + text[1:] for text in texts)
