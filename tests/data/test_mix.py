"""Several sources as one."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_data import row, source, text_rows, write_jsonl

from mmreward.data.datamodule import ResumableSampler
from mmreward.data.sources.digits import Digits
from mmreward.data.sources.jsonl import Jsonl
from mmreward.data.sources.mix import Mix, interleave
from mmreward.data.sources.shapes import Shapes
from mmreward.data.transforms import Transform
from mmreward.errors import UserError
from mmreward.records import Record


def texts(folder: Path, name: str, number: int, **options: object) -> Jsonl:
    rows = [{**one, "id": f"{name}{n}"} for n, one in enumerate(text_rows(number))]
    return Jsonl(str(write_jsonl(folder / f"{name}.jsonl", rows)), **options)  # type: ignore[arg-type]


def ids(records: Sequence[Record]) -> list[str]:
    return [record.id for record in records]


def test_without_weights_every_record_occurs_once() -> None:
    order = interleave([3, 5, 2], [3.0, 5.0, 2.0])
    assert sorted(map(tuple, order.tolist())) == [
        (s, n) for s, length in enumerate([3, 5, 2]) for n in range(length)
    ]


@pytest.mark.parametrize(
    ("lengths", "weights"),
    [([100, 30], [1, 1]), ([10, 90, 40], [3, 2, 1]), ([7, 1000], [0.2, 0.8])],
)
def test_shares_are_the_weights_and_every_record_occurs(
    lengths: list[int], weights: list[float]
) -> None:
    order = interleave(lengths, weights)
    shares = np.bincount(order[:, 0]) / len(order)
    assert shares == pytest.approx(np.array(weights) / sum(weights), abs=0.5 / len(order) + 0.005)
    for s, length in enumerate(lengths):
        drawn = Counter(order[order[:, 0] == s][:, 1].tolist())
        assert set(drawn) == set(range(length))
        assert max(drawn.values()) - min(drawn.values()) <= 1
    assert any(Counter(order[order[:, 0] == s][:, 1].tolist())[0] == 1 for s in range(len(lengths)))


def test_every_stretch_holds_the_sources_in_proportion() -> None:
    order = interleave([300, 100], [3, 1])
    for start in range(0, 400, 40):
        assert (order[start : start + 40, 0] == 0).sum() == 30


def test_splits_of_a_mix(tmp_path: Path) -> None:
    first, second = texts(tmp_path, "a", 20), Shapes(8, 4, 4)
    mix = Mix({"one": first, "two": second}, {"one": 1, "two": 1})
    train = mix.split("train")
    assert len(train) == len(first.split("train")) + 20 == 37  # 17 and whole families
    assert ids(train) == ids(mix.split("train"))
    kinds = [bool(record.media) for record in train]
    assert kinds.count(True) == 20 and sum(kinds[:16]) == 8
    for split in ("validation", "test"):
        assert ids(mix.split(split)) == ids(first.split(split)) + ids(second.split(split))
    assert mix.name == "a+shapes"
    assert ids(pickle.loads(pickle.dumps(train))) == ids(train)


@pytest.mark.parametrize("weights", [None, {"a": 1, "b": 3, "c": 2}])
def test_blocks_of_its_sources_stay_together_in_training(
    tmp_path: Path, weights: dict[str, float] | None
) -> None:
    """Twins, families and lone rows: every batch of whole blocks holds whole ones of each."""
    with_lone = texts(tmp_path, "a", 11, validation=0, test=0)
    parts = {"a": with_lone, "b": Digits(train_records=38), "c": Shapes(28, 4, 4)}
    mix = Mix(parts, weights)
    assert (with_lone.block, mix.block) == (1, 4)
    names = {r.id: (key, i) for key, one in parts.items() for i, r in enumerate(one.split("train"))}
    records = mix.split("train")
    assert {record.id for record in records} == set(names)
    for epoch in range(2):
        sampler = ResumableSampler(len(records), 0, block=mix.block)
        sampler.set_epoch(epoch)
        order = [names[records[place].id] for place in sampler]
        for key, block in (("b", 2), ("c", 4)):
            for place, (found, number) in enumerate(order):
                if found == key and number % block == 0:
                    whole = [(key, number + i) for i in range(block)]
                    assert order[place : place + block] == whole
    if weights is None:
        assert len(records) == 11 + 38 + 28


def test_bad_records_of_all_sources(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "bad.jsonl", [*text_rows(3), row(query=None)])
    bad = Jsonl(str(path), validation=0, test=0, on_bad_record="skip")
    mix = Mix({"a": texts(tmp_path, "a", 5, validation=0, test=0), "b": bad, "c": Shapes(8, 4, 4)})
    assert [one.where for one in mix.bad_records] == [f"{path} row 4"]


WRONG = [
    {"a": 1},
    {"a": 1, "b": 0},
    {"a": 1, "c": 1},
    {"a": 1, "b": "x"},
    {"a": 1, "b": "2"},
    {"a": 1, "b": None},
    {"a": 1, "b": math.inf},
    {"a": 1, "b": math.nan},
    "a",
    [1, 2],
]


@pytest.mark.parametrize("weights", WRONG)
def test_weights_must_name_the_sources(weights: Any) -> None:
    with pytest.raises(UserError, match=r"data\.source\.weights must give each of a, b"):
        Mix({"a": Shapes(8, 4, 4), "b": Shapes(8, 4, 4)}, weights)


def test_the_command_line_builds_it(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "own.jsonl", text_rows(20))
    mix = source(
        "data/source=mix",
        "data/source@data.source.sources.first=jsonl",
        f"data.source.sources.first.path={path}",
        "data.source.sources.second.train_records=8",
        "+data/source@data.source.sources.third=shapes",
        "data.source.sources.third.train_records=4",
        "data.source.weights={first:17,second:8,third:8}",
        "data.source.name=all",
    )
    shares = Counter(record.where != "" for record in mix.split("train"))
    assert mix.name == "all" and len(mix.sources) == 3
    assert (shares[True], shares[False]) == (17, 16)


def test_columns_that_nobody_read_are_told_with_their_source(tmp_path: Path) -> None:
    rows = [{**one, "extra": 1} for one in text_rows(20)]
    odd = Jsonl(str(write_jsonl(tmp_path / "odd.jsonl", rows)))
    mix = Mix({"shapes": Shapes(8, 8, 8), "plain": texts(tmp_path, "plain", 20), "odd": odd})
    assert mix.unread_columns == ["odd: extra"]


def test_a_mix_is_changed_once(tmp_path: Path) -> None:
    rows = [{**one, "image": "gone.png"} for one in text_rows(4)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    own = Jsonl(str(path), validation=0, test=0)
    mix = Mix({"a": own, "b": Shapes(4, 4, 4)}).through(Transform("drop", "Q: {query}"))
    prompts = [record.prompt for record in mix.split("train")]
    assert len(prompts) == 8 and all(prompt.count("Q: ") == 1 for prompt in prompts)
    assert not any(record.media for record in mix.split("train"))
    with pytest.raises(UserError, match="gone.png does not exist"):
        Mix({"a": own, "b": Shapes(4, 4, 4)}).split("train")
