"""What is done to records of any source before they are encoded."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import image, record
from own_data import all_records, png, row, sizes, source, straddling, text_rows, write_jsonl

from mmreward.data.encoding import Encoder
from mmreward.data.sources.base import SPLITS
from mmreward.data.sources.jsonl import Jsonl
from mmreward.data.sources.shapes import Shapes
from mmreward.data.transforms import Transform, apply_template, drop_images, parse_template
from mmreward.errors import UserError
from mmreward.model.tiny import tiny_tokenizer
from mmreward.records import Message, Record, Response

SHAPES = Shapes(8, 4, 4)
DROP = Transform("drop")


def test_nothing_changes_by_default() -> None:
    prepared = SHAPES.through(Transform())
    ids = [[r.id for r in one.split("train")] for one in (prepared, SHAPES)]
    assert ids[0] == ids[1]
    assert prepared.name == "shapes" and prepared.bad_records == []


def test_dropped_images_leave_text_that_a_text_backbone_reads() -> None:
    before = SHAPES.split("test")
    after = SHAPES.through(DROP).split("test")
    assert len(after) == 4
    for old, new in zip(before, after, strict=True):
        assert old.media and not new.media
        assert (new.prompt, new.responses, new.group) == (old.prompt, old.responses, old.group)
    encoder = Encoder(tiny_tokenizer())
    with pytest.raises(UserError, match=r"data\.images=drop"):
        encoder.encode(before[0])
    assert encoder.encode(after[0]).media == {}


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hub", "mmpr"])
def test_dropped_images_are_not_looked_at(tmp_path: Path, kind: str) -> None:
    """Neither missing files nor URLs nor odd cells; placeholders must still match them."""
    cells: list[Any] = ["gone.png", "../gone.png", "http://127.0.0.1:9/a.png", "/9j/*", "x" * 9000]
    if kind == "jsonl":
        cells += [{"src": "a.png"}, 7]
    ask = "question" if kind == "mmpr" else "query"
    rows = [
        {ask: f"<image> {n}?", "image": cell, "chosen": "good", "rejected": "bad"}
        for n, cell in enumerate(cells)
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    if kind == "parquet":
        path = tmp_path / "a.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    if kind == "mmpr":
        entry = {"root": "nowhere", "annotation": "a.jsonl"}
        path = tmp_path / "meta.json"
        path.write_text(json.dumps({"a": entry}))
    given = [f"data/source={kind}", f"data.source.path={path}", "data.source.validation=0"]
    given += [
        "data.source.test=0",
        *(["data.source.columns.prompt=query"] if kind == "hub" else []),
    ]
    if kind == "hub":
        pytest.importorskip("datasets")
    with pytest.raises(UserError, match="row 1: image file .*gone.png does not exist"):
        source(*given).split("train")
    dropped = source(*given).through(DROP).split("train")
    assert [r.prompt for r in dropped] == [f" {n}?" for n in range(len(cells))]
    assert not any(r.media for r in dropped)
    assert list(pickle.loads(pickle.dumps(dropped))) == list(dropped)


def test_only_urls_of_images_that_are_kept_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = write_jsonl(tmp_path / "a.jsonl", [row(image="http://127.0.0.1:9/a.png")])
    own = Jsonl(str(path), validation=0, test=0, fetch_urls=True)
    (record,) = own.through(DROP).split("train")
    assert record.prompt == "What colour is it?" and not record.media
    with pytest.raises(UserError, match=r"row 1: image .*a\.png cannot be fetched"):
        own.split("train")


def test_records_without_their_images_are_split_by_prompt(tmp_path: Path) -> None:
    """Two images a prompt, five answers to it: one side or the other, as one group."""
    rows = [
        row(query=f"q{n // 10}", image=f"{n}.png", response=[f"a{n % 5}", "b"]) for n in range(200)
    ]
    path = str(write_jsonl(tmp_path / "a.jsonl", rows))
    dropped = Jsonl(path, validation=0.1, test=0.1).through(DROP)
    assert sizes(dropped) == {"train": 160, "validation": 20, "test": 20}
    assert straddling(dropped) == set()
    assert len({record.group for record in all_records(dropped)}) == 20


def test_records_without_their_images_contradict_only_with_the_same_one(tmp_path: Path) -> None:
    opposite = {"human_ranking": [1, 0]}
    rows = [row(image="1.png"), row(image="2.png", **opposite)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    options: dict[str, Any] = {"validation": 0, "test": 0}
    assert len(Jsonl(str(path), **options).through(DROP).split("train")) == 2
    write_jsonl(path, [*rows, row(image="2.png")])
    with pytest.raises(UserError, match=r"row 2: it contradicts .*row 3"):
        Jsonl(str(path), **options).through(DROP).split("train")


def test_a_placeholder_without_an_image_is_bad_even_if_it_is_dropped(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [row(query="<image> <image> ?", image="1.png")])
    with pytest.raises(UserError, match="2 image placeholders .* but the row has 1 image"):
        Jsonl(str(path), validation=0, test=0).through(DROP).split("train")


def test_texts_around_a_dropped_image_close_up() -> None:
    one = record("Is ", 0, " left of ", 1, "?", media=(image(seed=1), image(seed=2)))
    assert drop_images(one).messages[0].content == ("Is  left of ?",)
    assert drop_images(record(0, media=(image(),))).messages[0].content == ("",)


def test_the_template_stands_around_the_last_turn() -> None:
    turns = (
        Message("user", ("Hi",)),
        Message("assistant", ("Hello.",)),
        Message("user", ("Why?",)),
    )
    one = Record(turns, (Response("a", 0), Response("b", 1)), source_id="x", where="here")
    new = apply_template(one, *parse_template("Question: {query}\nHow good is the {{answer}}?"))
    assert new.messages[:2] == turns[:2]
    assert new.messages[2].content == ("Question: Why?\nHow good is the {answer}?",)
    assert (new.responses, new.source_id, new.where) == (one.responses, "x", "here")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ((0, "Why?"), (0, "A Why? B")),
        (("Is ", 0, " red?"), ("A Is ", 0, " red? B")),
        (("Look: ", 0), ("A Look: ", 0, " B")),
        ((0,), (0, "A  B")),
    ],
)
def test_images_keep_their_places_under_a_template(
    content: tuple[str | int, ...], expected: tuple[str | int, ...]
) -> None:
    new = apply_template(record(*content, media=(image(),)), "A ", " B")
    assert new.messages[0].content == expected


def test_a_query_with_braces_is_only_text() -> None:
    new = apply_template(record("{x} {query}"), *parse_template("<{query}>"))
    assert new.prompt == "<{x} {query}>"


@pytest.mark.parametrize(
    "template",
    [
        "",
        "no place",
        "{question}",
        "{query} {query}",
        "{query} {image}",
        "{query!r}",
        "{query:5}",
        "{}",
        "{query",
    ],
)
def test_other_templates_are_refused(template: str) -> None:
    with pytest.raises(UserError, match=r"data\.prompt_template"):
        Transform(prompt_template=template)


def test_blind_images_are_grey_in_what_is_fitted_and_whole_in_the_test() -> None:
    blind = SHAPES.through(Transform("blind"))
    for split in SPLITS:
        before, after = SHAPES.split(split)[0], blind.split(split)[0]
        assert (before.messages, before.responses) == (after.messages, after.responses)
        colours = [media.load().getcolors() for media in after.media]
        assert after.media and len(before.media) == len(after.media)
        if split == "test":
            assert after.id == before.id
            # More than 256 colours are None.
            assert all(found is None or len(found) > 1 for found in colours) and len(colours) > 0
        else:
            width, height = before.media[0].size
            assert colours[0] == [(width * height, (128, 128, 128))]


def test_neither_grey_images_nor_a_template_move_rows_between_splits(tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / f"{n}.png").write_bytes(png(shade=n))
    rows = [row(id=f"r{n}", query=f"q{n}?", image=f"{n % 5}.png") for n in range(40)]
    rows += [row(id=f"t{n}", query=f"text {n // 2}?", response=[f"a{n}", "b"]) for n in range(40)]
    own = Jsonl(str(write_jsonl(tmp_path / "a.jsonl", rows)), validation=0.2, test=0.2)
    for changed in (own.through(Transform("blind")), own.through(Transform("keep", "Q: {query}"))):
        for split in SPLITS:
            before, after = own.split(split), changed.split(split)
            assert len(before) > 10
            assert [(r.source_id, r.group) for r in after] == [
                (r.source_id, r.group) for r in before
            ]


def test_other_ways_with_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.images=shrink should be keep, drop or blind"):
        Transform("shrink")


def test_both_together_over_rows_with_bad_ones(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [*text_rows(2), row(response=["a"], extra=1)])
    source = Jsonl(str(path), validation=0, test=0, on_bad_record="skip")
    prepared = source.through(Transform("drop", "Rate: {query}"))
    records = prepared.split("train")
    assert [r.prompt for r in records] == ["Rate: What is 0 plus 0?", "Rate: What is 1 plus 1?"]
    assert [bad.where for bad in prepared.bad_records] == [f"{path} row 3"]
    assert prepared.unread_columns == ["extra"]
    assert list(pickle.loads(pickle.dumps(records))) == list(records)
