"""The rows of `jsonl` in parquet files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_data import all_records, png, row, sizes, source, straddling, text_rows, write_jsonl

from mmreward.data.sources.jsonl import Jsonl
from mmreward.data.sources.parquet import Parquet
from mmreward.errors import UserError
from mmreward.records import Record, RecordError


def write(path: Path, rows: list[dict[str, Any]], **types: pa.DataType) -> Path:
    table = pa.Table.from_pylist(rows)
    for name, kind in types.items():
        index = table.column_names.index(name)
        table = table.set_column(index, name, pa.array([r.get(name) for r in rows], kind))
    pq.write_table(table, path, row_group_size=3)
    return path


def same(records: list[Record]) -> list[str]:
    """What must not depend on the kind of file."""
    return [record.id + record.source_id + record.group for record in records]


def test_the_same_rows_give_the_same_records_and_splits(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Why?"},
    ]
    rows = text_rows(30)
    rows[3] |= {"response": ["a", "b", "c"], "human_ranking": [1, 0, 1]}
    rows[4] |= {"response": ["a", "b", "c"], "human_ranking": [0, 1, 2], "pairs": [[0, 2]]}
    rows[5] |= {"messages": messages}
    columns = {name: None for one in rows for name in one}
    table = Parquet(str(write(tmp_path / "a.parquet", [columns | one for one in rows])))
    lines = Jsonl(str(write_jsonl(tmp_path / "a.jsonl", rows)))
    assert same(all_records(table)) == same(all_records(lines))
    assert table.name == "a"


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        (pa.binary(), [png(), png(shade=1), None]),
        (pa.list_(pa.binary()), [[png()], [png(shade=1)], []]),
        (
            pa.struct({"bytes": pa.binary(), "path": pa.string()}),
            [
                {"bytes": png(), "path": "somewhere/else.png"},
                {"bytes": None, "path": "one.png"},
                {"bytes": None, "path": None},
            ],
        ),
    ],
)
def test_images_as_bytes_lists_and_structs(tmp_path: Path, kind: pa.DataType, cells: Any) -> None:
    (tmp_path / "one.png").write_bytes(png(shade=1))
    rows = [row(query=f"q{n}", image=cell) | {"image": cell} for n, cell in enumerate(cells)]
    path = write(tmp_path / "a.parquet", rows, image=kind)
    records = Parquet(str(path), validation=0, test=0).split("train")
    assert [len(r.media) for r in records] == [1, 1, 0]
    assert [r.media[0].load().getpixel((0, 0)) for r in records[:2]] == [(0, 40, 200), (1, 40, 200)]


def test_a_struct_may_not_name_a_file_outside(tmp_path: Path) -> None:
    rows = [row(image={"bytes": None, "path": "/etc/hostname"})]
    path = write(tmp_path / "a.parquet", rows)
    with pytest.raises(RecordError, match=r"a\.parquet row 1: /etc/hostname lies outside"):
        Parquet(str(path)).split("train")


def test_a_folder_of_files(tmp_path: Path) -> None:
    rows = text_rows(10)
    write(tmp_path / "b.parquet", rows[6:])
    write(tmp_path / "a.parquet", [*rows[:5], row(response=["a"], human_ranking=[0]), rows[5]])
    both = Parquet(str(tmp_path), validation=0, test=0, on_bad_record="skip")
    assert [r.source_id for r in both.split("train")] == [f"t{n}" for n in range(10)]
    assert [bad.where for bad in both.bad_records] == [f"{tmp_path / 'a.parquet'} row 6"]
    assert both.split("train")[6].where == f"{tmp_path / 'b.parquet'} row 1"


def test_images_do_not_straddle(tmp_path: Path) -> None:
    rows = [row(query=f"q{n}", image=png(shade=n // 2)) for n in range(40)]
    split = Parquet(str(write(tmp_path / "a.parquet", rows)), validation=0.1, test=0.1)
    assert sizes(split) == {"train": 32, "validation": 4, "test": 4}
    assert straddling(split) == set()
    copy = pickle.loads(pickle.dumps(split.split("test")))
    assert list(copy) == list(split.split("test"))


def test_the_command_line_builds_it(tmp_path: Path) -> None:
    path = write(tmp_path / "own.parquet", text_rows(20))
    assert sum(sizes(source("data/source=parquet", f"data.source.path={path}")).values()) == 20


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text(json.dumps(row()))
    with pytest.raises(UserError, match=r"a\.parquet cannot be read as parquet"):
        Parquet(str(tmp_path / "a.parquet"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \*\.parquet files"):
        Parquet(str(tmp_path / "empty"))
