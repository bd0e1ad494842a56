"""The gradient's norm as a curve: before clipping, whatever clips."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.plugins.precision import Precision
from torch import nn

from mmreward.training.lightning_module import RewardModule


def module(model: nn.Module, logged: dict[str, float]) -> RewardModule:
    """A module inside of a trainer, as far as clipping sees it."""
    made = RewardModule(model, nn.Identity(), None, None, {})  # type: ignore[arg-type]
    precision, strategy = Precision(), SimpleNamespace(model=model)
    made._trainer = SimpleNamespace(  # type: ignore[assignment]
        strategy=strategy,
        precision_plugin=precision,
        gradient_clip_val=None,
        gradient_clip_algorithm=None,
    )
    made.log = lambda name, value, **_: logged.update({name: float(value)})  # type: ignore
    return made


def gradients(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize(
    ("limit", "algorithm"),
    [(None, None), (0.0, None), (0.5, None), (0.5, "norm"), (0.5, "value"), (1e6, "norm")],
)
def test_the_norm_is_that_before_clipping(limit: float | None, algorithm: str | None) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    model(100 * torch.randn(8, 4)).square().mean().backward()
    before = gradients(model)
    logged: dict[str, float] = {}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    module(model, logged).configure_gradient_clipping(optimizer, limit, algorithm)
    norm = before.norm().item()
    assert logged == {"train/grad_norm": pytest.approx(norm)} and norm > 1
    if not limit or limit > norm:
        expected = before
    elif algorithm == "value":
        expected = before.clamp(-limit, limit)
    else:
        expected = before * (limit / norm)
    torch.testing.assert_close(gradients(model), expected)


PROGRAM = """
import copy, math, sys
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from test_gradient_norm import module

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
torch.manual_seed(0)
plain = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 1))
batches = torch.randn(2, 4, 8)
torch.stack([plain(batch).square().mean() for batch in batches]).mean().backward()
expected = torch.nn.utils.clip_grad_norm_(plain.parameters(), math.inf).item()

torch.manual_seed(0)
sharded = FullyShardedDataParallel(
    nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 1)), device_id=torch.device("cpu")
)
sharded(batches[rank]).square().mean().backward()
logged = {}
optimizer = torch.optim.SGD(sharded.parameters(), lr=0.1)
made = module(sharded, logged)
for limit, norm in ((None, expected), (expected / 4, expected), (None, expected / 4)):
    made.configure_gradient_clipping(optimizer, limit, "norm")
    assert math.isclose(logged["train/grad_norm"], norm, rel_tol=1e-4), (logged, norm)
dist.barrier()
print("equal")
"""


@pytest.mark.slow
def test_under_fsdp_it_is_the_norm_over_all_shards(tmp_path: Path) -> None:
    tests = str(Path(__file__).parent)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(tmp_path / "meeting")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(tests),
        )
        for rank in (0, 1)
    ]
    for rank in ranks:
        out, err = rank.communicate(timeout=120)
        assert "equal" in out, err


def environment(tests: str) -> dict[str, str]:
    paths = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def test_no_gradient_has_no_norm() -> None:
    model, logged = nn.Linear(2, 2), {}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    module(model, logged).configure_gradient_clipping(optimizer, None, None)
    assert logged["train/grad_norm"] == 0 and not math.isnan(logged["train/grad_norm"])
