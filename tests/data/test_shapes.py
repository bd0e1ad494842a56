"""The shapes: graded and tied ranks that are true of the pictures and cannot be guessed."""

from __future__ import annotations

import hashlib
import inspect
import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy import ndimage

from mmreward.data.sources.base import SPLITS, Split
from mmreward.data.sources.shapes import BACKGROUND, COLOURS, NUMBERS, Shape, Shapes
from mmreward.errors import UserError
from mmreward.records import Record

Splits = dict[Split, Sequence[Record]]


@pytest.fixture(scope="module")
def splits() -> Splits:
    source = Shapes()
    return {split: list(source.split(split)) for split in SPLITS}


def scene(record: Record) -> tuple[Shape, ...]:
    return record.media[0].draw.args[0]  # type: ignore[union-attr]


def pixels(record: Record) -> np.ndarray:
    return np.asarray(record.media[0].load())


def test_sizes_kinds_and_numbers_of_answers(splits: Splits) -> None:
    assert [len(splits[split]) for split in SPLITS] == [20000, 500, 1000]
    for records in splits.values():
        shapes = Counter((r.category, len(r.responses)) for r in records)
        assert set(shapes) == {
            (kind, k) for kind in ("count", "colour", "relation") for k in (2, 3, 4)
        }
        assert min(shapes.values()) > len(records) / 30
        assert all(
            len({r.text for r in record.responses}) == len(record.responses) for record in records
        )
        assert all(record.pairs for record in records)


def test_there_are_ties_at_every_height(splits: Splits) -> None:
    for records in splits.values():
        tied = {
            (record.category, record.responses[i].rank)
            for record in records
            for i, _ in record.ties
        }
        assert {("count", 0), ("count", 1), ("count", 2), ("colour", 0), ("colour", 1),
                ("relation", 0), ("relation", 1)} <= tied  # fmt: skip
    ranks = {tuple(sorted(r.rank for r in record.responses)) for record in splits["train"]}
    assert {(0, 1), (0, 0, 1), (0, 1, 1), (0, 1, 2), (0, 1, 1, 1), (0, 0, 1, 1),
            (0, 1, 2, 3), (0, 1, 1, 2)} <= ranks  # fmt: skip


def test_ranks_follow_from_the_scene(splits: Splits) -> None:
    for records in splits.values():
        for record in records:
            shapes = scene(record)
            if record.category == "count":
                asked = next(
                    kind
                    for kind, many in (("circle", "circles"), ("square", "squares"),
                                       ("triangle", "triangles"), ("cross", "crosses"))
                    if many in record.prompt
                )  # fmt: skip
                number = sum(shape.kind == asked for shape in shapes)
                wrong = [
                    abs(
                        next(n for n, word in enumerate(NUMBERS) if word in r.text.lower()) - number
                    )
                    for r in record.responses
                ]
            elif record.category == "colour":
                (circle,) = (shape for shape in shapes if shape.kind == "circle")
                wrong = [int(circle.colour not in r.text.lower()) for r in record.responses]
            else:
                wrong = [int(not stands(r.text, shapes)) for r in record.responses]
            order = sorted(set(wrong))
            assert [r.rank for r in record.responses] == [order.index(w) for w in wrong]
            assert min(wrong) == 0


def stands(answer: str, shapes: Sequence[Shape]) -> bool:
    """Whether what an answer says of left and right is so."""
    words = answer.lower().replace(".", "").replace(",", "").split()
    first, second = [shape for word in words for shape in shapes if shape.kind == word]
    return first.x > second.x if "right of" in answer else first.x < second.x


def test_pictures_show_their_scenes(splits: Splits) -> None:
    for record in splits["test"][:200]:
        image, shapes = pixels(record), scene(record)
        assert image.shape == (84, 84, 3)
        ink = (image != BACKGROUND).any(axis=2)
        assert ndimage.label(ink)[1] == len(shapes)  # none overlaps or touches another
        for shape in shapes:
            assert tuple(image[shape.y, shape.x]) == COLOURS[shape.colour]
            box = ink[
                shape.y - shape.radius : shape.y + shape.radius + 1,
                shape.x - shape.radius : shape.x + shape.radius + 1,
            ]
            assert box.shape == (2 * shape.radius + 1,) * 2
            filled = {"square": 1.0, "circle": 0.8, "triangle": 0.53, "cross": 0.57}[shape.kind]
            assert box.mean() == pytest.approx(filled, abs=0.08)


@pytest.mark.parametrize("split", SPLITS)
def test_every_preference_occurs_as_often_exchanged(splits: Splits, split: Split) -> None:
    """In number and in weight."""
    number: Counter[tuple[str, str, str]] = Counter()
    weight: dict[tuple[str, str, str], Fraction] = {}
    for record in splits[split]:
        for pair in record.pairs:
            better, worse = record.responses[pair.better], record.responses[pair.worse]
            preference = (record.prompt, better.text, worse.text)
            number[preference] += 1
            share = Fraction(1, len(record.pairs))
            weight[preference] = weight.get(preference, Fraction(0)) + share
    assert all(n == number[q, b, a] for (q, a, b), n in number.items())
    assert all(w == weight[q, b, a] for (q, a, b), w in weight.items())


@pytest.mark.parametrize("split", SPLITS)
def test_question_and_answers_in_order_do_not_tell_either(splits: Splits, split: Split) -> None:
    seen: dict[tuple[str, ...], Counter[tuple[int, int]]] = {}
    for record in splits[split]:
        texts = (record.prompt, *(r.text for r in record.responses))
        seen.setdefault(texts, Counter()).update((p.better, p.worse) for p in record.pairs)
    assert all(n == pairs[j, i] for pairs in seen.values() for (i, j), n in pairs.items())


RULES: dict[str, Callable[[str, str], float]] = {
    "longer": lambda question, answer: len(answer),
    "line breaks": lambda question, answer: answer.count("\n"),
    "alphabetical": lambda question, answer: int.from_bytes(answer.encode()[:8].ljust(8), "big"),
    "hash": lambda question, answer: hashlib.sha256((question + answer).encode()).digest()[0],
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("split", SPLITS)
def test_a_blind_rule_scores_one_half(splits: Splits, split: Split, rule: str) -> None:
    right, n, decided = Fraction(0), 0, 0
    for record in splits[split]:
        scores = [RULES[rule](record.prompt, r.text) for r in record.responses]
        for pair in record.pairs:
            better, worse = scores[pair.better], scores[pair.worse]
            right += Fraction(1 + (better > worse) - (better < worse), 2)
            decided += better != worse
            n += 1
    assert right == Fraction(n, 2)
    assert decided > n / 4


def test_no_scene_in_two_splits_or_twice_in_evaluation(splits: Splits) -> None:
    pictures = {split: {r.media[0].key for r in records} for split, records in splits.items()}
    assert len(set.union(*pictures.values())) == sum(map(len, pictures.values()))
    for split in ("validation", "test"):
        assert len(pictures[split]) == len(splits[split])
        assert len({r.id for r in splits[split]}) == len(splits[split])
    ids = [(r.source_id, r.group) for records in splits.values() for r in records]
    assert len(set(ids)) == len(ids)


def test_an_item_is_always_the_same(splits: Splits) -> None:
    again, shorter = Shapes().split("train"), Shapes(train_records=200).split("train")
    for number in (199, 0, 7):  # in any order
        for other in (again, shorter):
            assert other[number].id == splits["train"][number].id
            assert np.array_equal(pixels(other[number]), pixels(splits["train"][number]))
    assert Shapes(seed=1).split("train")[0].id != splits["train"][0].id


def test_splits_are_sequences_that_survive_pickling(splits: Splits) -> None:
    test = pickle.loads(pickle.dumps(Shapes().split("test")))
    assert len(test) == 1000
    assert [r.id for r in test[-2:]] == [r.id for r in splits["test"][-2:]]
    with pytest.raises(IndexError):
        test[1000]
    record = pickle.loads(pickle.dumps(splits["test"][5]))
    assert record.id == splits["test"][5].id
    assert np.array_equal(pixels(record), pixels(splits["test"][5]))


@pytest.mark.parametrize("size", [42, 100, 224])
def test_scenes_fit_any_size(size: int) -> None:
    for record in Shapes(image_size=size).split("train")[:80]:
        image = pixels(record)
        assert image.shape == (size, size, 3)
        assert ndimage.label((image != BACKGROUND).any(axis=2))[1] == len(scene(record))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"train_records": 7}, "train_records"),
        ({"train_records": 0}, "train_records"),
        ({"validation_records": 6}, "validation_records"),
        ({"test_records": -4}, "test_records"),
        ({"image_size": 41}, "image_size"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_values_are_named(arguments: dict[str, int], named: str) -> None:
    with pytest.raises(UserError, match=rf"^data\.source\.{named} must be [^\n]*$"):
        Shapes(**arguments)


def test_the_yaml_names_every_argument_and_its_default() -> None:
    path = Path(__file__).parents[2] / "conf/data/source/shapes.yaml"
    config = dict(OmegaConf.load(path))
    assert config.pop("_target_") == f"{Shapes.__module__}.{Shapes.__qualname__}"
    parameters = inspect.signature(Shapes).parameters
    assert config == {name: parameter.default for name, parameter in parameters.items()}
