"""The thread that brings curves to the store: training never waits, nothing is lost or doubled."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from run_folders import train

from mmreward.curve_file import SYSTEM, read_rows
from mmreward.tracking import follow
from mmreward.tracking.follow import Follower, SystemMetrics


class Store:
    """Stands in for a client: slow, and absent for its first `failures` requests."""

    def __init__(self, failures: int = 0, seconds: float = 0.0, answer_lost: bool = False) -> None:
        self.failures, self.seconds, self.answer_lost = failures, seconds, answer_lost
        self.points: list[Any] = []

    def log_batch(self, run_id: str, metrics: list[Any]) -> None:
        time.sleep(self.seconds)
        self.failures -= 1
        if self.failures >= 0 and not self.answer_lost:
            raise ConnectionError("away")
        assert len(metrics) <= 1000
        self.points += metrics
        if self.failures >= 0:
            raise ConnectionError("the answer was lost")

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [point for point in self.points if point.key == key]

    @property
    def steps(self) -> list[int]:
        return [point.step for point in self.points if point.key == "train/loss"]


def follower(store: Store, folder: Path, reasons: list[object], seconds: float = 0.01) -> Follower:
    return Follower(lambda: (store, "run"), folder, reasons.append, seconds)  # type: ignore


def test_training_does_not_wait_for_a_slow_store(tmp_path: Path) -> None:
    store, reasons = Store(seconds=0.3), []
    thread = follower(store, tmp_path, reasons)
    began = time.monotonic()
    train(tmp_path, *range(2500))
    assert time.monotonic() - began < 20  # sent one by one these would have taken 750 seconds
    thread.stop()
    assert store.steps == list(range(2500))
    assert thread.sent_all and not reasons


@pytest.mark.parametrize("answer_lost", [False, True])
def test_a_server_that_is_away_for_a_while_misses_nothing(
    tmp_path: Path, answer_lost: bool
) -> None:
    store, reasons = Store(failures=2, answer_lost=answer_lost), []
    thread = follower(store, tmp_path, reasons)
    for step in range(6):
        train(tmp_path, step)
        time.sleep(0.02)
    for _ in range(100):
        if thread.sent_all:
            break
        time.sleep(0.02)
    thread.stop()
    assert store.steps == list(range(6))
    assert len(reasons) == 1, "one warning, not one a request"


def test_a_server_that_stays_away_is_asked_less_and_less(tmp_path: Path) -> None:
    store, reasons = Store(failures=10**9), []
    thread = follower(store, tmp_path, reasons)
    train(tmp_path, 1)
    time.sleep(1.0)  # a hundred rounds
    thread.stop()
    asked = 10**9 - store.failures
    assert 1 <= asked <= 8
    assert not thread.sent_all and len(reasons) == 1


def test_a_run_that_cannot_be_opened_at_once_is_opened_later(tmp_path: Path) -> None:
    store, reasons, tries = Store(), [], iter((False, True))

    def open_run() -> Any:
        if not next(tries):
            raise ConnectionError("away")
        return store, "run"

    thread = Follower(open_run, tmp_path, reasons.append, 0.01)
    train(tmp_path, 1, 2)
    for _ in range(100):
        if store.steps:
            break
        time.sleep(0.02)
    thread.stop()
    assert store.steps == [1, 2] and thread.sent_all and len(reasons) == 1


def test_what_an_interrupted_process_sent_is_not_sent_again(tmp_path: Path) -> None:
    store = Store()
    first = follower(store, tmp_path, [])
    train(tmp_path, 1, 2)
    first.stop()
    train(tmp_path, 3)  # written after its last request
    second = follower(store, tmp_path, [])
    train(tmp_path, 4)
    second.stop()
    assert store.steps == [1, 2, 3, 4]


def test_the_machine_is_measured_and_the_count_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        measuring = SystemMetrics(tmp_path, seconds=0.05)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:  # an idle machine would rightly be measured as such
            sum(range(1000))
        measuring.stop()
    rows, _ = read_rows(tmp_path / SYSTEM)
    assert [row["step"] for row in rows] == list(range(len(rows))) and len(rows) >= 4
    for row in rows:
        assert 0 <= row["system/cpu_utilization_percentage"] <= 100
        assert row["system/system_memory_usage_megabytes"] > 0
        assert row["system/disk_available_megabytes"] > 0
    assert any(row["system/cpu_utilization_percentage"] > 0 for row in rows)


def test_a_machine_that_cannot_be_measured_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def collect_metrics(self) -> None:
            raise PermissionError("/proc/net/dev")

    monkeypatch.setattr(follow, "_monitors", lambda: [Broken(), SimpleNamespace()])
    measuring = SystemMetrics(tmp_path, seconds=0.01)
    time.sleep(0.1)
    measuring.stop()
    rows, _ = read_rows(tmp_path / SYSTEM)
    assert rows and all(set(row) == {"step", "time"} for row in rows)
