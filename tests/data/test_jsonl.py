"""A user's own comparisons from JSON lines: what a row may hold and what becomes of it."""

from __future__ import annotations

import base64
import io
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from own_data import REAL, all_records, png, row, sizes, source, straddling, text_rows, write_jsonl
from PIL import Image

from mmreward.config import CONF
from mmreward.data.columns import COLUMNS
from mmreward.data.sources.jsonl import Jsonl, JsonLines
from mmreward.errors import UserError
from mmreward.records import Message, Record


def read(folder: Path, *rows: dict[str, Any], **options: Any) -> list[Record]:
    """The records of a file of these rows, all in train."""
    path = write_jsonl(folder / "pairs.jsonl", rows)
    return list(Jsonl(str(path), validation=0, test=0, **options).split("train"))


def contents(record: Record) -> tuple[str | int, ...]:
    (message,) = record.messages
    return message.content


# -- answers ---------------------------------------------------------------------------------


def test_rank_0_is_best_wherever_it_stands(tmp_path: Path) -> None:
    first, second = read(tmp_path, row(), row(query="And now?", human_ranking=[1, 0]))
    assert first.source_id == "a1" and first.messages == (Message("user", ("What colour is it?",)),)
    assert [r.text for r in first.responses] == ["It is red.", "It is blue."]
    assert [(p.better, p.worse) for p in first.pairs] == [(0, 1)]
    assert [(p.better, p.worse) for p in second.pairs] == [(1, 0)]


def test_more_answers_with_ties(tmp_path: Path) -> None:
    (record,) = read(tmp_path, row(response=["a", "b", "c", "d"], human_ranking=[1, 0, 1, 2]))
    assert {(p.better, p.worse) for p in record.pairs} == {(1, 0), (1, 2), (1, 3), (0, 3), (2, 3)}
    assert record.ties == ((0, 2),)


def test_answers_are_kept_exactly(tmp_path: Path) -> None:
    answers = [" leading\n", "trailing \t<image> é\u2028x"]
    (record,) = read(tmp_path, row(response=answers))
    assert [r.text for r in record.responses] == answers


def test_pairs_compare_only_some_answers(tmp_path: Path) -> None:
    given = row(response=["a", "b", "c", "d"], human_ranking=[0, 1, 0, 1], pairs=[[0, 1], [2, 3]])
    (record,) = read(tmp_path, given)
    assert [(p.better, p.worse) for p in record.pairs] == [(0, 1), (2, 3)]
    assert record.ties == ()


def test_chosen_and_rejected_with_scores(tmp_path: Path) -> None:
    def given(query: str, **scores: float) -> dict[str, Any]:
        answers = {"chosen": "good", "rejected": "bad", **scores}
        return row(query=query, response=None, human_ranking=None, **answers)

    plain, margin, tie = read(
        tmp_path,
        given("1"),
        given("2", score_chosen=4.5, score_rejected=3.0),
        given("3", score_chosen=2.0, score_rejected=2.0),
    )
    assert [r.text for r in plain.responses] == ["good", "bad"]
    assert [r.rank for r in plain.responses] == [0, 1] and plain.pairs[0].margin == 0
    assert margin.pairs[0].margin == 1.5
    assert tie.pairs == () and tie.ties == ((0, 1),)


def test_a_column_of_scores_gives_margins(tmp_path: Path) -> None:
    (record,) = read(tmp_path, row(rating=[7, 4]), columns={"scores": "rating"})
    assert record.pairs[0].margin == 3.0


def test_scores_may_not_speak_against_ranks(tmp_path: Path) -> None:
    def given(query: str, ranks: list[int], scores: list[float]) -> dict[str, Any]:
        return row(query=query, response=["a", "b", "c"], human_ranking=ranks, rating=scores)

    fine = [given("1", [1, 0, 2], [3, 3, 1]), given("2", [0, 0, 1], [1, 9, 1])]
    assert len(read(tmp_path, *fine, columns={"scores": "rating"})) == 2
    with pytest.raises(UserError, match=r"row 3: answer 1 .* to answer 2 .* \(2 against 2\.5\)"):
        read(tmp_path, *fine, given("3", [0, 1, 2], [3, 2, 2.5]), columns={"scores": "rating"})


# -- prompts ---------------------------------------------------------------------------------


def test_several_turns(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, " there"]},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Why?"},
    ]
    (record,) = read(tmp_path, row(query=None, messages=messages))
    assert [m.role for m in record.messages] == ["system", "user", "assistant", "user"]
    assert [m.text for m in record.messages] == ["Be short.", "Hi there", "Hello.", "Why?"]


@pytest.mark.parametrize("key", ["image", "path"])
def test_parts_place_images_in_their_turns(tmp_path: Path, key: str) -> None:
    (tmp_path / "one.png").write_bytes(png(shade=1))
    (tmp_path / "two.png").write_bytes(png(shade=2))
    inline = {"type": "image", key: "two.png", "text": None}
    messages = [
        {"role": "user", "content": ["Look: ", {"type": "image", key: None}]},
        {"role": "assistant", "content": "I see. <image>"},
        {"role": "user", "content": [inline, {"type": "text", "text": "Same?"}]},
    ]
    (record,) = read(tmp_path, row(query=None, image="one.png", messages=messages))
    assert [m.content for m in record.messages] == [
        ("Look: ", 0),
        ("I see. <image>",),
        (1, "Same?"),
    ]
    assert [m.path and m.path.name for m in record.media] == ["one.png", "two.png"]


@pytest.mark.parametrize(
    ("query", "content", "order"),
    [
        ("What?", (0, 1, "What?"), "ab"),
        ("<image>\n<image>\nWhat?", (0, "\n", 1, "\nWhat?"), "ab"),
        ("Is <image1> left of <image2>?", ("Is ", 0, " left of ", 1, "?"), "ab"),
        ("Is <image 2> left of <image 1>?", ("Is ", 0, " left of ", 1, "?"), "ba"),
        ("<image_1> and <image_2>", (0, " and ", 1), "ab"),
    ],
)
def test_placeholders_become_images_in_place(
    tmp_path: Path, query: str, content: tuple[str | int, ...], order: str
) -> None:
    for shade, name in enumerate("ab"):
        (tmp_path / f"{name}.png").write_bytes(png(shade=shade))
    (record,) = read(tmp_path, row(query=query, image=["a.png", "b.png"]))
    assert contents(record) == content
    assert "".join(m.path.stem for m in record.media if m.path) == order


# -- images ----------------------------------------------------------------------------------


def test_one_picture_in_every_form(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "a.png"
    path.write_bytes(png())
    code = base64.b64encode(png()).decode()
    forms = [
        "images/a.png",
        "./images/../images/a.png",
        str(path),
        ["images/a.png"],
        code,
        code[:40] + "\n" + code[40:],
        f"data:image/png;base64,{code}",
        {"path": "images/a.png"},
        {"bytes": None, "path": "images/a.png"},
    ]
    records = read(tmp_path, *(row(image=form) for form in forms))
    assert len(records) == len(forms)
    for record in records:
        assert contents(record) == (0, "What colour is it?")
        assert record.media[0].size == (8, 6)
        assert (np.asarray(record.media[0].load()) == (0, 40, 200)).all()
    assert len({record.media[0].sha256 for record in records}) == 1
    assert len({record.group for record in records}) == 1


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP", "JPEG2000", "GIF", "PPM"])
def test_base64_of_any_format(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (0, 40, 200)).save(buffer, kind)
    code = base64.b64encode(buffer.getvalue()).decode()
    one, two = read(tmp_path, row(image=code), row(image=[code, code]))
    assert one.media[0].data == buffer.getvalue() and len(two.media) == 2
    assert one.media[0].size == (8, 6)


def test_a_long_path_without_a_dot_is_a_path(tmp_path: Path) -> None:
    name = "a" * 12 + "/" + "b" * 51
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(png())
    (record,) = read(tmp_path, row(image=name))
    assert record.media[0].path == tmp_path / name


NO_IMAGE = [None, "", [], {}, {"bytes": None, "path": None}, {"bytes": None, "path": ""}]


@pytest.mark.parametrize("image", NO_IMAGE)
def test_no_picture(tmp_path: Path, image: Any) -> None:
    given = row() | ({} if image is None else {"image": image})
    assert read(tmp_path, given)[0].media == ()


def test_image_root_is_a_setting(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(png())
    (record,) = read(tmp_path, row(image="a.png"), image_root=str(tmp_path / "elsewhere"))
    assert record.media[0].size == (8, 6)


# -- files -----------------------------------------------------------------------------------


def test_compressed_and_plain_files_hold_the_same(tmp_path: Path) -> None:
    rows = text_rows(30)
    plain = Jsonl(str(write_jsonl(tmp_path / "a.jsonl", rows)))
    packed = Jsonl(str(write_jsonl(tmp_path / "a.jsonl.gz", rows)))
    assert all_records(plain) == all_records(packed)
    assert plain.name == packed.name == "a"


def test_rows_are_lines_and_blank_ones_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(row(query=str(n), response=["é", "b"]), ensure_ascii=False) for n in (0, 1)]
    path.write_bytes(("\ufeff" + lines[0] + "\r\n\r\n  \n" + lines[1]).encode())
    rows = JsonLines(path)
    assert [one["query"] for one in (rows[0], rows[1])] == ["0", "1"]
    assert [rows.where(n) for n in (0, 1)] == [f"{path} row 1", f"{path} row 4"]
    assert rows[1]["response"] == ["é", "b"]


def test_a_large_file_stays_on_disk(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [row(image="A" * 100_000) for _ in range(20)])
    rows = JsonLines(path)
    assert len(pickle.dumps(rows)) < 2_000
    assert rows[7]["image"] == "A" * 100_000


def test_records_can_be_sent_to_worker_processes(tmp_path: Path) -> None:
    records = Jsonl(str(write_jsonl(tmp_path / "a.jsonl", text_rows(20)))).split("train")
    assert list(pickle.loads(pickle.dumps(records))) == list(records)


# -- splits ----------------------------------------------------------------------------------


def test_files_of_their_own_are_taken_whole(tmp_path: Path) -> None:
    rows = text_rows(30)
    for name, part in (("a", rows[:20]), ("b", rows[20:24]), ("c", rows[24:])):
        write_jsonl(tmp_path / f"{name}.jsonl", part)
    a, b, c = (str(tmp_path / f"{name}.jsonl") for name in "abc")
    apart = Jsonl(a, validation_path=b, test_path=c)
    assert [r.source_id for r in all_records(apart)] == [f"t{n}" for n in range(30)]
    assert sizes(apart) == {"train": 20, "validation": 4, "test": 6}
    assert sizes(Jsonl(a, test_path=c, validation=0.2)) == {"train": 16, "validation": 4, "test": 6}


def test_copies_of_an_image_stay_together(tmp_path: Path) -> None:
    rows = []
    for n in range(30):
        (tmp_path / f"{n}.png").write_bytes(png(shade=n))
        shutil.copy(tmp_path / f"{n}.png", tmp_path / f"copy-{n}.png")
        rows += [row(image=f"{n}.png", query="1"), row(image=f"copy-{n}.png", query="2")]
    for seed in range(3):
        split = Jsonl(
            str(write_jsonl(tmp_path / "a.jsonl", rows)), validation=0.1, test=0.2, split_seed=seed
        )
        assert sizes(split) == {"train": 42, "validation": 6, "test": 12}
        assert straddling(split) == set()


def test_one_prompt_over_many_images_is_no_reason_to_stay_together(tmp_path: Path) -> None:
    for n in range(40):
        (tmp_path / f"{n}.png").write_bytes(png(shade=n))
    rows = [row(image=f"{n}.png") for n in range(40)]
    split = Jsonl(str(write_jsonl(tmp_path / "a.jsonl", rows)), validation=0.1, test=0.1)
    assert sizes(split) == {"train": 32, "validation": 4, "test": 4}


def test_without_images_one_prompt_stays_together(tmp_path: Path) -> None:
    rows = [row(query=f"q{n // 2}", response=[f"a{n}", "b"]) for n in range(40)]
    split = Jsonl(str(write_jsonl(tmp_path / "a.jsonl", rows)), validation=0.1, test=0.1)
    assert sizes(split) == {"train": 32, "validation": 4, "test": 4}
    assert straddling(split) == set()


def test_a_group_stays_together_and_is_kept(tmp_path: Path) -> None:
    rows = [row(query=f"q{n}", group=f"g{n // 4}", category="c") for n in range(40)]
    split = Jsonl(str(write_jsonl(tmp_path / "a.jsonl", rows)), validation=0.1, test=0.1)
    groups = [{r.group for r in split.split(s)} for s in ("train", "validation", "test")]
    assert [len(g) for g in groups] == [8, 1, 1] and len(set.union(*groups)) == 10
    assert {r.category for r in all_records(split)} == {"c"}


# -- settings --------------------------------------------------------------------------------


def test_columns_of_other_names(tmp_path: Path) -> None:
    given = {"q": "Why?", "pos": "so", "neg": "no", "subset": "x", "extra": 1}
    path = write_jsonl(tmp_path / "a.jsonl", [given])
    names = {"prompt": "q", "chosen": "pos", "rejected": "neg", "category": "subset"}
    other = Jsonl(str(path), validation=0, test=0, columns=names)
    (record,) = other.split("train")
    assert (record.prompt, record.category) == ("Why?", "x")
    assert [(r.text, r.rank) for r in record.responses] == [("so", 0), ("no", 1)]
    assert other.unread_columns == ["extra"]


def test_a_column_set_to_null_is_not_read(tmp_path: Path) -> None:
    (record,) = read(tmp_path, row(image="missing.png"), columns={"image": None})
    assert record.media == ()


def test_a_column_that_no_row_has_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"columns\.image=img .*no row has.*human_ranking"):
        read(tmp_path, row(), columns={"image": "img"})


def test_a_column_of_images_that_is_not_read_comes_with_the_setting(tmp_path: Path) -> None:
    for number, (changes, columns, unread) in enumerate(
        [
            ({}, {}, "images (no row has given an image; is it here? Set data.source.columns.image="
             "images)"),
            ({"image": None}, {}, "images (no row"),
            ({"image": "a.png"}, {}, "images"),
            ({}, {"image": None}, "images"),
        ]
    ):  # fmt: skip
        (tmp_path / "a.png").write_bytes(png())
        path = write_jsonl(tmp_path / f"{number}.jsonl", [{**row(images=["a.png"]), **changes}])
        own = Jsonl(str(path), validation=0, test=0, columns=columns)
        (found,) = own.unread_columns
        assert found.startswith(unread) and ("(" in found) == ("(" in unread)
    (record,) = read(tmp_path, row(images=["a.png"]), columns={"image": "images"})
    assert len(record.media) == 1


def test_a_field_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.source\.columns\.question is not a field"):
        read(tmp_path, row(), columns={"question": "query"})


def test_the_command_line_builds_it(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "own.jsonl", [{**one, "q": "same"} for one in text_rows(20)])
    built = source(
        "data/source=jsonl",
        f"data.source.path={path}",
        "data.source.columns.group=q",
        "data.source.validation=0",
        "data.source.test=0",
    )
    assert isinstance(built, Jsonl) and built.name == "own"
    assert {r.group for r in all_records(built)} == {"same"}


def test_the_yaml_names_the_same_columns_as_the_code() -> None:
    columns = OmegaConf.load(CONF / "data" / "source" / "jsonl.yaml").columns
    assert columns == COLUMNS


def test_without_a_path_it_says_which_setting_is_missing() -> None:
    with pytest.raises(UserError, match=r"data\.source\.path is missing"):
        source("data/source=jsonl")


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("a.csv", "hub"),
        ("a.json", "hub"),
        ("lines.json", "hub"),
        ("indented.json", "hub"),
        ("a.parquet", "parquet"),
        ("renamed.jsonl", "parquet"),
    ],
)
def test_other_formats_come_with_the_source_that_reads_them(
    tmp_path: Path, name: str, reader: str
) -> None:
    path, rows = tmp_path / name, text_rows(3)
    if reader == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name == "lines.json":
        path.write_text("[" + ",\n".join(json.dumps(one) for one in rows) + "]")
    else:
        indent = 2 if name == "indented.json" else None
        path.write_text("query,chosen\na,b\n" if "csv" in name else json.dumps(rows, indent=indent))
    with pytest.raises(UserError, match=rf"{name} is no file of JSON lines .*source={reader}$"):
        Jsonl(str(path), on_bad_record="skip")


def test_a_json_file_of_lines_is_read(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.json", text_rows(3))
    assert len(Jsonl(str(path), validation=0, test=0).split("train")) == 3


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.source\.test_path=.*nowhere"):
        Jsonl(str(write_jsonl(tmp_path / "a.jsonl", [row()])), test_path="nowhere.jsonl")


# -- real files ------------------------------------------------------------------------------


@pytest.mark.skipif(not (REAL / "math_vision").is_dir(), reason="no real data")
def test_math_vision() -> None:
    path = REAL / "math_vision" / "pairs.jsonl"
    real = Jsonl(str(path), on_bad_record="skip")
    assert sizes(real) == {"train": 165, "validation": 10, "test": 19}
    assert straddling(real) == set()
    reasons = [bad.reason for bad in real.bad_records]
    assert sum("image placeholders" in reason for reason in reasons) == 20
    assert sum("name of an object" in reason for reason in reasons) == 1
    assert len(reasons) == 21 and 165 + 10 + 19 + 21 == 215
    records = all_records(real)
    assert all(sum(part == 0 for part in contents(r)) == 1 for r in records)
    assert not any("<image" in r.prompt for r in records)
    media = [m for r in records for m in r.media]
    assert len({m.size for m in media}) > 90
    assert max(max(m.size) for m in media) == 2525


@pytest.mark.skipif(not (REAL / "math_vision").is_dir(), reason="no real data")
def test_math_vision_stops_at_its_first_bad_row() -> None:
    with pytest.raises(UserError, match=r"pairs\.jsonl row 1: answer 0 .*21 of 215 rows.*skip$"):
        Jsonl(str(REAL / "math_vision" / "pairs.jsonl")).split("train")


@pytest.mark.skipif(not (REAL / "vl_rewardbench").is_dir(), reason="no real data")
def test_vl_rewardbench_text() -> None:
    real = Jsonl(
        str(REAL / "vl_rewardbench" / "text.jsonl.gz"),
        columns={"prompt": "prompt", "image": None},
        on_bad_record="skip",
    )
    assert sum(sizes(real).values()) == 1249
    (bad,) = real.bad_records
    assert bad.where.endswith("row 724") and "4 image placeholders" in bad.reason
    assert straddling(real) == set()
    popular = [
        s
        for s in ("train", "validation", "test")
        for r in real.split(s)
        if r.prompt == "Describe this image in detail."
    ]
    assert popular == ["train"] * 410
    assert real.unread_columns == ["image"]
