"""Which folders task=sync uploads."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import run_folder

from mmreward.errors import UserError
from mmreward.tasks.sync import run_folders


def test_every_run_of_a_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    folders = [run_folder(sweep / str(number)) for number in (0, 1, 2, 10)]
    (sweep / "left over").mkdir()
    assert run_folders(sweep) == folders
    assert run_folders(folders[2]) == [folders[2]]
    for nothing in (tmp_path / "nowhere", sweep / "left over"):
        with pytest.raises(UserError, match=r"holds no run\.json"):
            run_folders(nothing)
