"""A log without a terminal says how far the scoring is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mmreward.tasks import progress


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 20))  # seconds
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    log = io.StringIO()
    with progress.Scoring(Console(file=log, width=200)) as scoring:
        advance = scoring.begin("digits", 1400)
        for _ in range(4):
            advance(350)
    lines = log.getvalue().split("\n")
    assert "scoring digits: 1,050 of 1,400 views, 17.5 views/s" in lines
    assert 1 <= len([line for line in lines if line]) <= 3
