from __future__ import annotations

from pathlib import Path

import pytest

from mmreward.errors import UserError
from mmreward.sweep_file import DONE, SWEEP_FILE, Row, read_name, read_sweep, write_sweep


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_sweep(tmp_path) is None
    row: Row = {
        "job": 3, "overrides": ["note=für"], "folder": "sweep/3", "status": "done before",
        "reason": "", "returned": 0.5, "seconds": 1.5, "log": "sweep/3/console.log",
    }  # fmt: skip
    write_sweep(tmp_path, "trial", [row, row | {"status": "failed"}])
    assert SWEEP_FILE == "sweep.json" and "für" in (tmp_path / SWEEP_FILE).read_text()
    rows = read_sweep(tmp_path)
    assert rows is not None and rows[0] == row
    assert [each["status"] in DONE for each in rows] == [True, False]


def test_the_name_of_a_sweep_stays(tmp_path: Path) -> None:
    assert read_name(tmp_path) is None
    write_sweep(tmp_path, "monday", [])
    assert read_name(tmp_path) == "monday"


@pytest.mark.parametrize("content", ["{", "[]", '{"jobs": 3}', "{}"])
def test_a_damaged_list_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / SWEEP_FILE).write_text(content)
    with pytest.raises(UserError, match=r"sweep\.json cannot be read; delete it"):
        read_sweep(tmp_path)
