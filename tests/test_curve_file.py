"""curves.jsonl as it is written, read and read on."""

from __future__ import annotations

import time
from pathlib import Path

from mmreward.curve_file import append_row, read_rows
from mmreward.training.curves import read_curves


def test_rows_come_back_with_their_times(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    before = int(time.time() * 1000)
    append_row(path, 3, {"b": 2.0, "a": 1.0, "broken": float("nan"), "over": float("inf")})
    rows, end = read_rows(path)
    assert [list(row) for row in rows] == [["step", "time", "a", "b"]]
    assert rows[0]["step"] == 3 and before <= rows[0]["time"] <= time.time() * 1000
    append_row(path, 4, {"a": 5.0})
    assert [row["step"] for row in read_rows(path, end)[0]] == [4]
    assert read_rows(tmp_path / "nowhere") == ([], 0)


def test_a_line_that_was_never_finished_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    append_row(path, 1, {"train/loss": 1.0})
    with path.open("a") as file:
        file.write('{"step": 2, "tra')
    rows, end = read_rows(path)
    assert [row["step"] for row in rows] == [1]
    assert end < path.stat().st_size, "it may be finished yet"
    append_row(path, 3, {"train/loss": 0.5})
    assert [row["step"] for row in read_rows(path, end)[0]] == [3]
    assert read_curves(tmp_path) == {"training loss": [(1, 1.0), (3, 0.5)]}
