"""What a training says it cost, in processes that train more than once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mmreward.training import throughput
from mmreward.training.throughput import Throughput

ALONE = SimpleNamespace(root_device=torch.device("cpu"), reduce=lambda x, reduce_op: x)
TRAINER: Any = SimpleNamespace(strategy=ALONE)
MODULE: Any = None


def trained(megabytes: int, *, state: dict[str, Any] | None = None) -> Throughput:
    """What is known of a training that takes so much memory for a while."""
    cost = Throughput()
    if state:
        cost.load_state_dict(state)
    cost.on_fit_start(TRAINER, MODULE)
    cost.on_train_start(TRAINER, MODULE)
    np.ones(megabytes * 125_000)
    cost.on_train_end(TRAINER, MODULE)
    return cost


@pytest.mark.skipif(not throughput.CLEAR.exists(), reason="Linux alone forgets a peak")
def test_a_training_is_not_charged_with_an_earlier_one_s_memory() -> None:
    small, large, again = (trained(megabytes).summary(1) for megabytes in (1, 400, 1))
    assert large["peak_memory_mb"] - small["peak_memory_mb"] > 350
    assert large["peak_memory_mb"] - again["peak_memory_mb"] > 350


def test_where_it_cannot_be_told_apart_only_the_first_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "CLEAR", tmp_path / "none" / "such")
    monkeypatch.setattr(throughput, "_measured", False)
    first, second = trained(1), trained(1)
    assert first.summary(1)["peak_memory_mb"] > 10
    assert "peak_memory_mb" not in second.summary(1)
    # Nor does a run that is resumed there, whatever its first part took.
    assert "peak_memory_mb" not in trained(1, state=first.state_dict()).summary(1)


def test_a_resumed_run_took_what_its_larger_part_took() -> None:
    before = trained(1).state_dict() | {"memory": 1e6}
    assert trained(1, state=before).summary(1)["peak_memory_mb"] == 1e6
    at_its_end = Throughput()
    at_its_end.load_state_dict(before)
    at_its_end.on_fit_start(TRAINER, MODULE)
    assert at_its_end.summary(1)["peak_memory_mb"] == 1e6
    less = before | {"memory": 1.0}
    assert trained(1, state=less).summary(1)["peak_memory_mb"] > 10
