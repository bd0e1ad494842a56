"""Which folders task=sync uploads."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from run_folders import run_folder

from mmreward.errors import UserError
from mmreward.tasks.sync import run_folders, tracking_of
from mmreward.tracking import MLflowTracking


def test_every_run_of_a_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    folders = [run_folder(sweep / str(number)) for number in (0, 1, 2, 10)]
    (sweep / "left over").mkdir()
    assert run_folders(sweep) == folders
    assert run_folders(folders[2]) == [folders[2]]
    for nothing in (tmp_path / "nowhere", sweep / "left over"):
        with pytest.raises(UserError, match=r"holds no run\.json"):
            run_folders(nothing)


def node(uri: str | None) -> dict[str, object]:
    target = "mmreward.tracking.MLflowTracking"
    return {"_target_": target, "root": "outputs", "uri": uri, "experiment": "trial"}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (node("http://own:1"), "http://own:1"),
        ({"_target_": "mmreward.tracking.NoTracking"}, "http://named:1"),
        (None, "http://named:1"),
    ],
)
def test_a_run_goes_to_the_store_it_was_tracked_with(
    tmp_path: Path, own: dict[str, object] | None, expected: str
) -> None:
    folder = run_folder(tmp_path / "run")
    OmegaConf.save({"seed": 0} | ({"tracking": own} if own else {}), folder / "config.yaml")
    chosen = tracking_of(OmegaConf.create({"tracking": node("http://named:1")}), folder)
    assert isinstance(chosen, MLflowTracking) and chosen.store.uri == expected
