"""Reaching a store: experiments made by several at once, and stores that stop to answer."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_ALREADY_EXISTS

from mmreward.tracking import store
from mmreward.tracking.store import Store


class Client:
    """Of a server where somebody makes the experiment between our two requests."""

    code = RESOURCE_ALREADY_EXISTS

    def __init__(self, uri: str) -> None:
        self.made = False

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="7") if self.made else None

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        assert artifact_location is None  # a server has its own place
        self.made = True
        raise MlflowException("no", error_code=self.code)

    def wait(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds


@pytest.fixture
def reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(mlflow, "MlflowClient", Client)
    return Store(tmp_path / "root", "http://host", "trial")


def test_an_experiment_that_another_job_makes_is_used(reached: Store) -> None:
    assert reached.connect()[1] == "7"
    assert reached.connect() is reached.connect(), "asked once"
    assert not reached.root.exists(), "a server's runs need no folder of the store"


def test_other_failures_are_raised(reached: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "code", INTERNAL_ERROR)
    with pytest.raises(MlflowException):
        reached.connect()


def test_patience_is_for_answers_and_not_for_the_work(
    reached: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.6)
    client: Any = reached.connect()[0]
    assert reached.within_patience(lambda: sum(client.wait(0.2) for _ in range(6))) > 1
    with pytest.raises(ZeroDivisionError):
        reached.within_patience(lambda: 1 / 0)
    silent = threading.Event()
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer for 0.6 s"):
        reached.within_patience(silent.wait)
    assert 0.5 < time.monotonic() - began < 3
    silent.set()
