"""Run folders and stores for the tests of tracking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import Server
from run_folders import run_folder

from mmreward.tracking import upload


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


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are uploaded, as they are."""
    names: list[str] = []
    real = upload.upload_file

    def upload_file(client: Any, run_id: str, path: Path, *more: Any) -> None:
        names.append(path.name)
        real(client, run_id, path, *more)

    monkeypatch.setattr(upload, "upload_file", upload_file)
    return names
