"""Which process writes, as each launcher of ranks tells it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LAUNCHED = {
    "alone": ({}, True),
    "first of torchrun": ({"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, True),
    "second machine of torchrun": ({"RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, False),
    "second of Lightning's": ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
    "second machine of Lightning's": ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
    "first task of SLURM": ({"SLURM_PROCID": "0"}, True),
    "second task of SLURM": ({"SLURM_PROCID": "1"}, False),
}


@pytest.mark.slow  # every process imports Lightning
@pytest.mark.parametrize("launched", LAUNCHED)
def test_one_rank_writes(launched: str) -> None:
    environment, first = LAUNCHED[launched]
    clean = {k: v for k, v in os.environ.items() if "RANK" not in k and "SLURM" not in k}
    asked = "from mmreward.ranks import is_rank_zero; print(is_rank_zero())"
    answer = subprocess.check_output(
        [sys.executable, "-c", asked], env={**clean, **environment}, text=True
    )
    assert answer.strip() == str(first)
