"""Run folders of a sweep as training leaves them, without training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from score_tables import make, table

from mmreward.records import Record
from mmreward.tracking.base import RunInfo


def records(n: int, per_group: int = 1) -> list[Record]:
    """Questions about an image each, `per_group` to a group."""
    return [make(f"q{i}", image=f"photo {i}", group=f"g{i // per_group}") for i in range(n)]


def run(
    folder: Path,
    asked: Sequence[Record],
    right: Sequence[float],
    model: str = "base",
    seed: int = 0,
    blind: Sequence[float | None] | None = None,
    sweep: str = "",
    **training: float,
) -> Path:
    """A finished run that judges pair i rightly where right[i] is 1, ties where it is 1/2.

    blind: the same with the image greyed out; None for a record without one
    sweep: what its tag says
    """

    def scores(outcomes: Sequence[float | None]) -> list[list[float] | None]:
        return [None if right is None else [2 * float(right) - 1, 0.0] for right in outcomes]

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
    RunInfo(f"{model} s{seed}", {}, {"sweep": sweep} if sweep else {}).write(folder)
    return folder


def sweep(
    folder: Path, *statuses: str, subdir: str = "{number}", seeds: Sequence[int] = (0, 1)
) -> Path:
    """A sweep folder of base and enhanced, as many runs each as there are `seeds`, whose jobs
    ended like this."""
    jobs = []
    outcomes = [right for found in draws(40, (0.6, 0.7), len(seeds)) for right in found]
    for number, status in enumerate(statuses):
        model = ("base", "enhanced")[number // len(seeds)]
        seed = seeds[number % len(seeds)]
        path = folder / subdir.format(number=number, model=model, seed=seed)
        if status != "failed":
            blind = np.full(40, 0.5)
            run(path, records(40), outcomes[number], model, seed, blind, folder.name, seconds=3.0)
        jobs.append({
            "job": number, "overrides": [f"model={model}", f"seed={seed}", "optimizer.lr=1"],
            "folder": str(path), "status": status,
            "reason": "killed by SIGKILL" if status == "failed" else "",
            "returned": None, "seconds": 1.0, "log": str(path / "console.log"),
        })  # fmt: skip
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "sweep.json").write_text(json.dumps({"jobs": jobs}))
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
