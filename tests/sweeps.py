"""Run folders of a sweep as training leaves them, without training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from score_tables import make, table

from mmreward.records import Record


def records(n: int, per_group: int = 1) -> list[Record]:
    """Questions about an image each, `per_group` to a group."""
    return [make(f"q{i}", image=f"photo {i}", group=f"g{i // per_group}") for i in range(n)]


def run(
    folder: Path,
    asked: Sequence[Record],
    right: Sequence[float],
    model: str = "base",
    seed: int = 0,
    blind: Sequence[float] | None = None,
    **training: float,
) -> Path:
    """A finished run that judges pair i rightly where right[i] is 1, ties where it is 1/2."""

    def scores(outcomes: Sequence[float]) -> list[list[float]]:
        return [[2 * float(outcome) - 1, 0.0] for outcome in outcomes]

    found = {"intact": scores(right)}
    if blind is not None:
        found["blind_image"] = scores(blind)
    table(folder, asked, found, "digits")
    config = {
        "seed": seed,
        "model": {"_target_": model},
        "choices": {"model": model, "loss": f"loss of {model}"},
        "tracking": {
            "_target_": "mmreward.tracking.MLflowTracking",
            "root": str(folder.parent / "tracked"),
            "uri": None,
            "experiment": "test",
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.json").write_text(json.dumps({"training": training}))
    return folder


def draws(
    n: int, accuracies: Sequence[float], seeds: int, generator: int = 0
) -> list[list[np.ndarray]]:
    """[accuracy][seed]: outcomes (n,) of the same questions, some harder than others."""
    rng = np.random.default_rng(generator)
    hard = rng.random(n)
    return [
        [(0.7 * hard + 0.3 * rng.random(n) < accuracy).astype(float) for _ in range(seeds)]
        for accuracy in accuracies
    ]
