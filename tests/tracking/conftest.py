"""Run folders and stores for the tests of tracking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_server import Server
from run_folders import run_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder as it is when training begins."""
    return run_folder(tmp_path / "outputs" / "first")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that is not started yet."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    yield server
    server.kill()
