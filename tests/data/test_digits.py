"""The digits: blind by construction, split by scan, never cut off, true to their labels."""

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
from sklearn.datasets import load_digits

from mmreward.data.sources.base import SPLITS, Split
from mmreward.data.sources.digits import WORDS, Digits
from mmreward.errors import UserError
from mmreward.records import Record

Splits = dict[Split, Sequence[Record]]


@pytest.fixture(scope="module")
def splits() -> Splits:
    source = Digits()
    return {split: list(source.split(split)) for split in SPLITS}


def scan_of(record: Record) -> int:
    return int(record.group.removeprefix("scan-"))


def true_of(digit: int, answer: str) -> bool:
    """Whether an answer holds for a digit, read from its words alone."""
    words = answer.lower().replace(".", "").split()
    if "odd" in words or "even" in words:
        return ("odd" in words) == (digit % 2 == 1)
    if "five" in words and {"larger", "most"} & set(words):
        return ("larger" in words) == (digit > 5)
    return WORDS[digit] in words


def test_sizes(splits: Splits) -> None:
    assert {split: len(records) for split, records in splits.items()} == {
        "train": 25600,
        "validation": 498,
        "test": 1038,
    }
    for split in ("validation", "test"):
        share = len(splits[split]) // 3
        assert Counter(r.category for r in splits[split]) == dict.fromkeys(
            ("which", "parity", "larger"), share
        )


def test_the_better_answer_is_true_and_the_other_false(splits: Splits) -> None:
    digits = load_digits().target
    for records in splits.values():
        for record in records:
            digit = int(digits[scan_of(record)])
            assert [true_of(digit, r.text) for r in record.responses] == [
                r.rank == 0 for r in record.responses
            ]
            assert sorted(r.rank for r in record.responses) == [0, 1]


@pytest.mark.parametrize("split", SPLITS)
def test_every_preference_occurs_as_often_exchanged(splits: Splits, split: Split) -> None:
    seen: Counter[tuple[str, str, str]] = Counter()
    for record in splits[split]:
        for pair in record.pairs:
            better, worse = record.responses[pair.better], record.responses[pair.worse]
            seen[record.prompt, better.text, worse.text] += 1
    assert all(seen[q, a, b] == seen[q, b, a] for q, a, b in seen)


@pytest.mark.parametrize("split", SPLITS)
def test_question_and_answers_in_order_do_not_tell_either(splits: Splits, split: Split) -> None:
    seen: dict[tuple[str, ...], list[int]] = {}
    for record in splits[split]:
        texts = (record.prompt, *(r.text for r in record.responses))
        seen.setdefault(texts, []).append(record.pairs[0].better)
    assert all(2 * sum(better) == len(better) for better in seen.values())


def test_the_place_of_the_better_answer_is_random_too(splits: Splits) -> None:
    """One half over twins is certain; over the first of each it is the draw."""
    first = [record.responses[0].rank == 0 for record in splits["train"]]
    assert sum(first) == len(first) / 2
    assert np.mean(first[::2]) == pytest.approx(0.5, abs=0.02)


RULES: dict[str, Callable[[str, str], float]] = {
    "longer": lambda question, answer: len(answer),
    "line breaks": lambda question, answer: answer.count("\n"),
    "alphabetical": lambda question, answer: int.from_bytes(answer.encode()[:8].ljust(8), "big"),
    "hash": lambda question, answer: hashlib.sha256((question + answer).encode()).digest()[0],
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("split", SPLITS)
def test_a_blind_rule_scores_one_half(splits: Splits, split: Split, rule: str) -> None:
    score, right, decided = RULES[rule], Fraction(0), 0
    for record in splits[split]:
        pair = record.pairs[0]
        better = score(record.prompt, record.responses[pair.better].text)
        worse = score(record.prompt, record.responses[pair.worse].text)
        right += Fraction(1 + (better > worse) - (better < worse), 2)
        decided += better != worse
    assert right == Fraction(len(splits[split]), 2)
    assert decided > len(splits[split]) / 4  # one half, but not for want of an opinion


def test_no_scan_and_no_picture_in_two_splits(splits: Splits) -> None:
    scans = {split: {scan_of(r) for r in records} for split, records in splits.items()}
    assert len(scans["train"]) == 1200
    assert 240 <= len(scans["validation"]) <= 250
    assert len(scans["test"]) == 347
    assert len(set.union(*scans.values())) == sum(map(len, scans.values()))
    keys = [{r.media[0].key for r in records} for records in splits.values()]
    assert len(set.union(*keys)) == sum(map(len, keys))


def test_splits_are_stratified(splits: Splits) -> None:
    digits = load_digits().target
    for records in splits.values():
        scans = sorted({scan_of(r) for r in records})
        expected = np.bincount(digits) * len(scans) / len(digits)
        assert np.abs(np.bincount(digits[scans]) - expected).max() < 2


def test_evaluation_records_are_unique_and_use_all_scans_evenly(splits: Splits) -> None:
    for split in ("validation", "test"):
        records = splits[split]
        assert len({r.id for r in records}) == len(records)
        uses = Counter((r.category, r.group) for r in records)
        assert max(uses.values()) <= 2
    for records in splits.values():
        assert len({r.source_id for r in records}) == len(records)


def test_an_item_is_always_the_same(splits: Splits) -> None:
    again, shorter = Digits().split("train"), Digits(train_records=200).split("train")
    for number in (199, 0, 7):  # in any order
        for other in (again, shorter):
            assert other[number].id == splits["train"][number].id
            assert pixels(other[number]).tolist() == pixels(splits["train"][number]).tolist()
    assert [r.id for r in Digits().split("test")] == [r.id for r in splits["test"]]
    assert Digits(seed=1).split("train")[0].id != splits["train"][0].id


def test_train_is_a_sequence() -> None:
    train = Digits(train_records=10).split("train")
    assert [r.source_id for r in train] == [f"train-{n:05d}" for n in range(10)]
    assert train[-1].id == train[9].id
    assert [r.id for r in train[2:6:2]] == [train[2].id, train[4].id]
    with pytest.raises(IndexError):
        train[10]


def test_splits_and_records_survive_pickling(splits: Splits) -> None:
    train = pickle.loads(pickle.dumps(Digits().split("train")))
    assert train[123].id == splits["train"][123].id
    record = pickle.loads(pickle.dumps(splits["test"][5]))
    assert record.id == splits["test"][5].id
    assert pixels(record).tolist() == pixels(splits["test"][5]).tolist()


def pixels(record: Record) -> np.ndarray:
    return np.asarray(record.media[0].load())


def test_training_digits_are_shifted_whole_and_others_stand_in_the_middle() -> None:
    """The same records without a shift, in an image of the digit's size, are the reference."""
    shifted, still = Digits(image_size=56, shift=3), Digits(image_size=50, shift=0)
    for split in SPLITS:
        places = set()
        reference = still.split(split)
        for number, record in enumerate(shifted.split(split)[:500]):
            image, digit = pixels(record), pixels(reference[number])
            assert image.shape == (56, 56, 3)
            assert record.group == reference[number].group
            found = [
                (left, top)
                for left in range(7)
                for top in range(7)
                if np.array_equal(image[top : top + 50, left : left + 50], digit)
            ]
            assert len(found) == 1
            assert (255 - image.astype(int)).sum() == (255 - digit.astype(int)).sum()
            places.update(found)
        everywhere = {(left, top) for left in range(7) for top in range(7)}
        assert places == (everywhere if split == "train" else {(3, 3)})


def test_equal_keys_draw_equal_pixels_and_others_do_not(splits: Splits) -> None:
    drawn: dict[str, bytes] = {}
    for record in [*splits["test"], *splits["train"][:1000]]:
        picture = pixels(record).tobytes()
        assert drawn.setdefault(record.media[0].key, picture) == picture
    assert len(set(drawn.values())) == len(drawn)


def test_an_enlarged_digit_still_shows_the_scan() -> None:
    """Averaged back to 8 x 8, the picture correlates almost perfectly with the scan."""
    scans = load_digits().images
    for record in Digits(image_size=64, shift=0).split("test")[:50]:
        ink = 255.0 - pixels(record)[:, :, 0]
        small = ink.reshape(8, 8, 8, 8).mean(axis=(1, 3))
        assert np.corrcoef(small.ravel(), scans[scan_of(record)].ravel())[0, 1] > 0.97


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"train_records": 7}, "train_records"),
        ({"train_records": 0}, "train_records"),
        ({"image_size": 21}, "image_size"),
        ({"image_size": 40, "shift": 13}, "image_size"),
        ({"shift": -1}, "shift"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_values_are_named(arguments: dict[str, int], named: str) -> None:
    with pytest.raises(UserError, match=rf"^data\.source\.{named} must be [^\n]*$"):
        Digits(**arguments)


def test_the_yaml_names_every_argument_and_its_default() -> None:
    path = Path(__file__).parents[2] / "conf/data/source/digits.yaml"
    config = dict(OmegaConf.load(path))
    assert config.pop("_target_") == f"{Digits.__module__}.{Digits.__qualname__}"
    parameters = inspect.signature(Digits).parameters
    assert config == {name: parameter.default for name, parameter in parameters.items()}
