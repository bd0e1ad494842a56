"""Passwords in addresses: refused where they can be, and shown nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmreward.config import ROOT
from mmreward.errors import UserError
from mmreward.tracking import MLflowTracking
from mmreward.tracking.address import without_password


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:pw@host:5000, away", "at http://host:5000, away"),
        ("https://token@host/x", "https://host/x"),
        ("postgresql+psycopg2://me:p/w@host/db", "postgresql+psycopg2://host/db"),
        ("mysql://host/db?user=me&password=pw", "mysql://host/db?user=me&password="),
        *[(text, text) for text in (
            "postgresql://me@host/db", "http://host:5000/a@b", "sqlite:////home/me@x/mlflow.db",
            '["http://host:5000","me@host"]',
        )],
    ],
)  # fmt: skip
def test_an_address_is_shown_without_its_password(text: str, shown: str) -> None:
    assert without_password(text) == shown


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("localhost:5000", r"tracking\.uri=localhost:5000 is not an address"),
        ("http://me:pw@host:5000", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_addresses_that_are_refused(uri: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as caught:
        MLflowTracking(root=tmp_path, uri=uri, experiment="trial")
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        ("tracking.uri=http://me:hidden@host",),
        ("-m", "seed=0,1", "++tracking.uri=http://me:hidden@host"),
        ("task=sync", "run=nowhere", "tracking.uri=http://me:hidden@host"),
    ],
    ids=["run", "sweep", "sync"],
)
def test_a_password_on_the_line_is_refused_before_anything_is_written(
    line: tuple[str, ...], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *line],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and list(tmp_path.iterdir()) == []
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: tracking.uri=http://host was given with a user in it; put")
